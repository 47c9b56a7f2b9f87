"""How a pipeline begins in PostgreSQL: its filter, order and page, then perhaps a count or a group."""

from __future__ import annotations

import contextlib
from typing import Any

import asyncpg
import msgspec

from aats_core.query.expressions import Expression, Field, Literal
from aats_core.query.filters import Path
from aats_core.query.pipelines import Count, Group, Pipeline
from aats_core.query.values import MAX_INT, MIN_INT
from aats_core.storage.queries import Beginning
from aats_core.storage.stored_form import MARK
from aats_core.store import Document
from aats_store_postgres import reading
from aats_store_postgres.catalog import Collection
from aats_store_postgres.codec import decode, unescaped
from aats_store_postgres.expressions import is_expressible, target_at
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Row, Session

_NUMERIC = ("$sum", "$avg")
_EXTREME = ("$min", "$max")


async def run(
    session: Session, collection: Collection | None, begin: Beginning[Query]
) -> tuple[list[Document], Pipeline]:
    """Return what PostgreSQL makes of the beginning of a pipeline, and the stages that remain for Python."""
    query, rest = begin.query, begin.rest
    paged = bool(begin.order) or begin.skip or begin.limit is not None
    first = rest[0] if rest and not paged else None
    if isinstance(first, Count):
        number = await reading.count(session, collection, query)
        return ([{first.name: number}] if number else []), rest[1:]
    if isinstance(first, Group) and collection is not None and query.exact:
        groups = await _grouped(session, collection, query, first)
        if groups is not None:
            return groups, rest[1:]
    found = await reading.find(session, collection, query, order=begin.order, limit=begin.limit, skip=begin.skip)
    return found, rest


class _Column(msgspec.Struct, frozen=True):
    """A field of a group: its aggregates in SQL, what else makes a row doubtful, and what becomes of it."""

    values: tuple[str, ...]
    accumulator: str
    number: str = ""
    doubt: str = ""
    constant: int = 1


class _Fields:
    """The fields that a group is made of: for each its type `t`, text `s`, number `n`, and whether it is in doubt `d`.

    In doubt is a value that JSON does not compare or add up as MongoDB does.
    """

    def __init__(self) -> None:
        self._paths: dict[Path, int] = {}

    def number_of(self, path: Path) -> int:
        """Return the number of a field's columns."""
        return self._paths.setdefault(path, len(self._paths))

    @property
    def are_near(self) -> bool:
        """Whether no array can lie on the way to one of them."""
        return all(len(path) == 1 for path in self._paths)

    @property
    def doubts(self) -> list[str]:
        """The columns that tell of doubt."""
        return [f"d{number}" for number in self._paths.values()]

    def near_source(self, table: str, where: str) -> str:
        """Return the query that has types, texts and numbers, and fails where one that is asked for is no number."""
        columns = ["1"]
        for path, number in self._paths.items():
            target = target_at(path)
            columns += [f"jsonb_typeof({target.json}) AS t{number}", f"{target.full} AS s{number}"]
            columns.append(f"{target.json}::numeric AS n{number}")
        return f"(SELECT {', '.join(columns)} FROM {table} WHERE {where}) AS fields"

    def source(self, table: str, where: str) -> str:
        """Return the query that has all those columns.

        Each of its levels computes from the one below, so that nothing is taken out of a document twice.
        """
        values, columns = ["1"], ["1"]
        for path, number in self._paths.items():
            target = target_at(path)
            values += [f"{target.json} AS j{number}", f"{' OR '.join(target.ways) or 'FALSE'} AS w{number}"]
            kind, text = f"jsonb_typeof(j{number})", f"(j{number} #>> '{{}}') COLLATE \"C\""
            columns += [f"{kind} AS t{number}", f"{text} AS s{number}"]
            columns.append(f"CASE WHEN {kind} = 'number' THEN j{number}::numeric END AS n{number}")
            columns.append(
                f"w{number} OR CASE {kind} WHEN 'number' THEN scale(j{number}::numeric) > 0 WHEN 'string' THEN"
                f" left(j{number} #>> '{{}}', 1) = '{MARK}' WHEN 'object' THEN TRUE WHEN 'array' THEN TRUE"
                f" ELSE FALSE END AS d{number}"
            )
        taken = f"SELECT {', '.join(values)} FROM {table} WHERE {where} OFFSET 0"
        return f"(SELECT {', '.join(columns)} FROM ({taken}) AS taken OFFSET 0) AS fields"


async def _grouped(session: Session, collection: Collection, query: Query, stage: Group) -> list[Document] | None:
    """Return the groups, or None where PostgreSQL would not group or add up these values as MongoDB does.

    It does so for groups by null or by a field, and over integers; a decimal, a float, an object or an array among the
    values leaves it to Python.
    """
    fields = _Fields()
    columns = [_column(accumulator, expression, fields) for _, accumulator, expression in stage.fields]
    path = _path(stage.id)
    if not (path or _is_null(stage.id)) or not all(columns):
        return None
    known = [column for column in columns if column is not None]
    by = ("'null'", "NULL::text")
    groups = "HAVING count(*) > 0"
    if path:
        key = fields.number_of(path)
        by = (f"coalesce(t{key}, 'null')", f"s{key}")
        groups = f"GROUP BY {', '.join(by)}"
    where = collection.table, query.where(collection)
    values = [each for column in known for each in column.values]

    async def fetch(doubt: str, source: str) -> list[Row]:
        return await session.fetch(
            f"SELECT {', '.join((*by, doubt, *values))} FROM {source} {groups}", *query.parameters
        )

    rows = None
    if fields.are_near and not session.connection.is_in_transaction():
        scales = [f"coalesce(scale(sum({column.number})), 0)" for column in known if column.number]
        with contextlib.suppress(asyncpg.DataError):  # some value is no number, which is a matter of types
            rows = await fetch(" + ".join(scales) or "0", fields.near_source(*where))
    if rows is None:
        doubt = " OR ".join(fields.doubts + [column.doubt for column in known if column.doubt]) or "FALSE"
        rows = await fetch(f"count(*) FILTER (WHERE {doubt})", fields.source(*where))
    return None if any(map(_is_doubtful, rows)) else [_group(stage, known, row) for row in rows]


def _is_doubtful(row: Row) -> bool:
    """Tell whether a row is not what MongoDB would make of its group, or is only part of it."""
    kind, text, doubt = row[0], row[1], row[2]
    return bool(doubt) or kind in ("object", "array") or _is_tagged(kind, text) or (kind == "number" and "." in text)


def _is_tagged(kind: str, text: str) -> bool:
    return kind == "string" and text.startswith(MARK)


def _group(stage: Group, columns: list[_Column], row: Any) -> Document:
    kind, text = row[0], row[1]
    made: Document = {"_id": unescaped(text) if kind == "string" else decode(text or kind)}
    at = 3
    for (name, _, _), column in zip(stage.fields, columns, strict=True):
        end = at + len(column.values)
        made[name] = _made(column, row[at:end])
        at = end
    return made


def _made(column: _Column, found: Any) -> Any:
    if column.accumulator in _EXTREME:
        return None if found[0] is None else int(found[0])
    if column.accumulator == "$avg":
        total, count = found
        return float(total) / count if count else None
    total = int(found[0] or 0) * column.constant
    return total if MIN_INT <= total <= MAX_INT else float(total)


def _path(expression: Expression) -> Path | None:
    if isinstance(expression, Field) and expression.variable == "ROOT" and expression.path:
        return expression.path if is_expressible(expression.path) else None
    return None


def _is_null(expression: Expression) -> bool:
    return isinstance(expression, Literal) and expression.value is None


def _column(accumulator: str, expression: Expression, fields: _Fields) -> _Column | None:
    if accumulator == "$count":
        return _Column(("count(*)",), "$sum")
    if accumulator == "$sum" and isinstance(expression, Literal) and expression.value.__class__ is int:
        return _Column(("count(*)",), "$sum", constant=expression.value)
    path = _path(expression)
    if path is None or accumulator not in (*_NUMERIC, *_EXTREME):
        return None
    number = fields.number_of(path)
    if accumulator in _EXTREME:
        doubt = f"t{number} NOT IN ('number', 'null')"
        return _Column((f"{accumulator[1:]}(n{number})",), accumulator, f"n{number}", doubt)
    values = (f"sum(n{number})", f"count(n{number})")
    return _Column(values if accumulator == "$avg" else values[:1], accumulator, f"n{number}")
