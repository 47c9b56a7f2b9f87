"""How a pipeline begins in PostgreSQL: its filter, order and page, then perhaps a count or a group."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import asyncpg
import msgspec

from aats_core.query.filters import And, Path
from aats_core.query.needs import fields_of_pipeline
from aats_core.query.pipelines import Count, Group, Pipeline
from aats_core.storage.groups import Figure, Grouping, grouping_of, mean, total
from aats_core.storage.queries import Beginning
from aats_core.storage.stored_form import MARK
from aats_core.store import Document
from aats_store_postgres import reading
from aats_store_postgres.catalog import Collection
from aats_store_postgres.codec import decode, unescaped
from aats_store_postgres.expressions import is_expressible, target_at
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Row, Session

_EXTREMES = ("$min", "$max")

_OTHERS = re.compile(r"(-?[0-9.]+|true|false|\[.*|\{.*)$", re.DOTALL)
"""What the text of a value that is no string looks like."""


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
    grouping = grouping_of(first, is_expressible) if isinstance(first, Group) else None
    if grouping is not None and collection is not None and query.exact:
        groups = await _grouped(session, collection, query, grouping)
        if groups is not None:
            return groups, rest[1:]
    page: dict[str, Any] = {"order": begin.order, "limit": begin.limit, "skip": begin.skip}
    found = await reading.find(session, collection, query, **page, fields=fields_of_pipeline(And(()), rest))
    return found, rest


class _Column(msgspec.Struct, frozen=True):
    """A field of a group: its aggregates in SQL, the number they are over, and what else makes a row doubtful."""

    figure: Figure
    values: tuple[str, ...] = ("count(*)",)
    number: str = ""
    doubt: str = ""


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
        """Return the query that has those columns but the last, and fails where a number that is asked for is none.

        Taking values out of documents is what costs, their types above all; a column that is not used costs nothing.
        """
        columns = ["1"]
        for path, number in self._paths.items():
            target = target_at(path)
            columns.append(f"coalesce(jsonb_typeof({target.json}), 'null') AS t{number}")
            columns += [f"{target.full} AS s{number}", f"{target.json}::numeric AS n{number}"]
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
            columns += [f"coalesce({kind}, 'null') AS t{number}", f"{text} AS s{number}"]
            columns.append(f"CASE WHEN {kind} = 'number' THEN j{number}::numeric END AS n{number}")
            columns.append(
                f"w{number} OR CASE {kind} WHEN 'number' THEN scale(j{number}::numeric) > 0 WHEN 'string' THEN"
                f" left(j{number} #>> '{{}}', 1) = '{MARK}' WHEN 'object' THEN TRUE WHEN 'array' THEN TRUE"
                f" ELSE FALSE END AS d{number}"
            )
        taken = f"SELECT {', '.join(values)} FROM {table} WHERE {where} OFFSET 0"
        return f"(SELECT {', '.join(columns)} FROM ({taken}) AS taken OFFSET 0) AS fields"


class _Statement:
    """A group over a table in SQL: as it is tried first, where that does not tell, and where nothing else does.

    The first takes all that tells groups apart for strings, until that has turned out to be wrong. It and the second
    fail where what is added up is no number; None, where an array may lie on the way to a value.
    """

    of_strings: str | None = None
    near: str | None = None

    def __init__(self, grouping: Grouping, table: str, where: str) -> None:
        fields = _Fields()
        self.columns = [_column(figure, fields) for figure in grouping.figures]
        kind, text, tail = "'null'", "NULL::text", "HAVING count(*) > 0"
        if grouping.path:
            key = fields.number_of(grouping.path)
            kind, text, tail = f"t{key}", f"s{key}", f"GROUP BY t{key}, s{key}"
        values = "".join(f", {each}" for column in self.columns for each in column.values)
        if fields.are_near:
            scales = [f"coalesce(scale(sum({column.number})), 0)" for column in self.columns if column.number]
            rest = f"{text}, {' + '.join(scales) or '0'}{values} FROM {fields.near_source(table, where)}"
            self.near = f"SELECT {kind}, {rest} {tail}"
            if grouping.path:
                self.of_strings = f"SELECT NULL::text, {rest} GROUP BY {text}"
        doubt = " OR ".join(fields.doubts + [column.doubt for column in self.columns if column.doubt]) or "FALSE"
        doubts = f"count(*) FILTER (WHERE {doubt})"
        self.any = f"SELECT {kind}, {text}, {doubts}{values} FROM {fields.source(table, where)} {tail}"


_statement = lru_cache(maxsize=500)(_Statement)


async def _grouped(session: Session, collection: Collection, query: Query, grouping: Grouping) -> list[Document] | None:
    """Return the groups, or None where PostgreSQL would not group or add up these values as MongoDB does.

    It does so over integers; a decimal, a float, an object or an array among the values leaves it to Python.
    """
    statement = _statement(grouping, collection.table, query.where(collection))
    rows = None
    if statement.near and not session.connection.is_in_transaction():
        with contextlib.suppress(asyncpg.DataError):  # some value is no number, which is a matter of types
            rows = await _near(session, statement, statement.near, query.parameters)
    if rows is None:
        rows = await session.fetch(statement.any, *query.parameters)
    return None if any(map(_is_doubtful, rows)) else [_group(statement.columns, row) for row in rows]


async def _near(session: Session, statement: _Statement, near: str, parameters: Sequence[Any]) -> list[Row]:
    """Return the groups of values that lie in the documents themselves."""
    if statement.of_strings:
        rows = await session.fetch(statement.of_strings, *parameters)
        if not any(row[1] is not None and _OTHERS.match(row[1]) for row in rows):
            return rows
        statement.of_strings = None
    return await session.fetch(near, *parameters)


def _is_doubtful(row: Row) -> bool:
    """Tell whether a row is not what MongoDB would make of its group, or is only part of it."""
    kind, text, doubt = row[0], row[1], row[2]
    if text is None or doubt:
        return bool(doubt)
    if kind == "number":
        return "." in text
    return kind in ("object", "array") or text.startswith(MARK)


def _group(columns: list[_Column], row: Any) -> Document:
    kind, text = row[0], row[1]
    is_text = text is not None and kind in (None, "string")
    made: Document = {"_id": unescaped(text) if is_text else decode(text or "null")}
    at = 3
    for column in columns:
        end = at + len(column.values)
        made[column.figure.name] = _made(column.figure, row[at:end])
        at = end
    return made


def _made(figure: Figure, found: Any) -> Any:
    if figure.accumulator in _EXTREMES:
        return None if found[0] is None else int(found[0])
    return mean(*found) if figure.accumulator == "$avg" else total(found[0], figure.each)


def _column(figure: Figure, fields: _Fields) -> _Column:
    if not figure.path:
        return _Column(figure)
    field = fields.number_of(figure.path)
    number = f"n{field}"
    if figure.accumulator in _EXTREMES:
        doubt = f"t{field} NOT IN ('number', 'null')"
        return _Column(figure, (f"{figure.accumulator[1:]}({number})",), number, doubt)
    values = (f"sum({number})", f"count({number})")
    return _Column(figure, values if figure.accumulator == "$avg" else values[:1], number)
