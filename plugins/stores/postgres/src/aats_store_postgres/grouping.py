"""How a pipeline begins in PostgreSQL: its filter, order and page, then perhaps a count or a group."""

from __future__ import annotations

from typing import Any

import msgspec

from aats_core.query import Clause
from aats_core.query.accumulators import ACCUMULATORS
from aats_core.query.expressions import Expression, Field, Literal
from aats_core.query.filters import And, Path
from aats_core.query.pipelines import Count, Group, Limit, Match, Pipeline, Skip, Sort
from aats_core.query.values import MAX_INT, MIN_INT
from aats_core.store import Document
from aats_store_postgres import reading
from aats_store_postgres.catalog import Collection
from aats_store_postgres.codec import MARK, decode, unescaped
from aats_store_postgres.expressions import Target, is_expressible, target_at
from aats_store_postgres.queries import Queries, Query
from aats_store_postgres.reading import Order
from aats_store_postgres.session import Session

_NUMERIC = ("$sum", "$avg")
_EXTREME = ("$min", "$max")


class Plan(msgspec.Struct, frozen=True):
    """What PostgreSQL does of a pipeline, and the stages that remain for Python."""

    query: Query
    order: Order
    skip: int
    limit: int | None
    rest: Pipeline

    async def run(self, session: Session, collection: Collection | None) -> tuple[list[Document], Pipeline]:
        """Return the documents that the remaining stages get, and these stages."""
        paged = bool(self.order) or self.skip or self.limit is not None
        first = self.rest[0] if self.rest and not paged else None
        if isinstance(first, Count):
            number = await reading.count(session, collection, self.query)
            return ([{first.name: number}] if number else []), self.rest[1:]
        if isinstance(first, Group) and collection is not None and self.query.exact:
            groups = await _grouped(session, collection, self.query, first)
            if groups is not None:
                return groups, self.rest[1:]
        found = await reading.find(session, collection, self.query, order=self.order, limit=self.limit, skip=self.skip)
        return found, self.rest


def plan(stages: Pipeline, queries: Queries) -> Plan:
    """Return what PostgreSQL does of a pipeline: matches, one sort, one skip, one limit, in this order."""
    clauses: list[Clause] = []
    while stages and isinstance(first := stages[0], Match):
        clauses.append(first.clause)
        stages = stages[1:]
    order: Order = ()
    skip, limit = 0, None
    if stages and isinstance(first := stages[0], Sort):
        order, stages = first.order, stages[1:]
    if stages and isinstance(first := stages[0], Skip):
        skip, stages = first.count, stages[1:]
    if stages and isinstance(first := stages[0], Limit):
        limit, stages = first.count, stages[1:]
    query = queries.of_clause(clauses[0] if len(clauses) == 1 else And(tuple(clauses)))
    return Plan(query, order, skip, limit, stages)


class _Column(msgspec.Struct, frozen=True):
    """A field of a group: its expressions in SQL, and whether a row holds a value that these do not tell exactly."""

    values: tuple[str, ...]
    doubt: str
    accumulator: str
    constant: Any = None


async def _grouped(session: Session, collection: Collection, query: Query, stage: Group) -> list[Document] | None:
    """Return the groups, or None where PostgreSQL would not group or add up these values as MongoDB does.

    It does so for groups by null or by a field, and over integers; a decimal, a float, an object or an array among the
    values leaves it to Python.
    """
    columns = [_column(accumulator, expression) for _, accumulator, expression in stage.fields]
    path = _path(stage.id)
    if not (path or _is_null(stage.id)) or not all(columns):
        return None
    key = target_at(path) if path else None
    known = [column for column in columns if column is not None]
    doubts = [column.doubt for column in known if column.doubt] + ([_doubt(key)] if key else [])
    values = [value for column in known for value in column.values]
    by = (f"coalesce(jsonb_typeof({key.json}), 'null')", key.full) if key else ("'null'", "NULL::text")
    groups = f"GROUP BY {', '.join(by)}" if key else "HAVING count(*) > 0"
    doubt = " OR ".join(f"({each})" for each in doubts) or "FALSE"
    selected = ", ".join((*by, f"count(*) FILTER (WHERE {doubt})", *values))
    sql = f"SELECT {selected} FROM {collection.table} WHERE {query.where(collection)} {groups}"
    rows = await session.fetch(sql, *query.parameters)
    return None if any(row[2] for row in rows) else [_group(stage, known, row) for row in rows]


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
    total = int(found[0] or 0) * (1 if column.constant is None else column.constant)
    return total if MIN_INT <= total <= MAX_INT else float(total)


def _path(expression: Expression) -> Path | None:
    if isinstance(expression, Field) and expression.variable == "ROOT" and expression.path:
        return expression.path if is_expressible(expression.path) else None
    return None


def _is_null(expression: Expression) -> bool:
    return isinstance(expression, Literal) and expression.value is None


def _column(accumulator: str, expression: Expression) -> _Column | None:
    assert accumulator in ACCUMULATORS, "the pipeline was parsed"
    if accumulator == "$count":
        return _Column(("count(*)",), "", "$sum")
    if accumulator == "$sum" and isinstance(expression, Literal) and expression.value.__class__ is int:
        return _Column(("count(*)",), "", "$sum", expression.value)
    path = _path(expression)
    if path is None or accumulator not in (*_NUMERIC, *_EXTREME):
        return None
    target = target_at(path)
    number = f"CASE WHEN jsonb_typeof({target.json}) = 'number' THEN {target.json}::numeric END"
    if accumulator in _EXTREME:
        others = f"jsonb_typeof({target.json}) NOT IN ('number', 'null')"
        return _Column((f"{accumulator[1:]}({number})",), f"{_doubt(target)} OR {others}", accumulator)
    values = (f"sum({number})", f"count({number})") if accumulator == "$avg" else (f"sum({number})",)
    return _Column(values, _doubt(target), accumulator)


def _doubt(target: Target) -> str:
    """Return whether a value, as a key or an addend, is none that JSON compares and adds up as MongoDB does."""
    ways = "".join(f" WHEN {way} THEN TRUE" for way in target.ways)
    return (
        f"CASE{ways} WHEN jsonb_typeof({target.json}) = 'number' THEN scale({target.json}::numeric) > 0"
        f" WHEN jsonb_typeof({target.json}) = 'string' THEN left({target.text}, 1) = '{MARK}'"
        f" WHEN jsonb_typeof({target.json}) IN ('object', 'array') THEN TRUE ELSE FALSE END"
    )
