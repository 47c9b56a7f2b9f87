"""What the server does of queries by itself, where its answer is exactly the right one; None where it may not be.

It is where all conditions can be said in Cypher, no document is marked as inexact, and what is sorted by, grouped by or
added up is a property of its own in every document that matches, or missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, NamedTuple

from neo4j.time import DateTime

from aats_core.query import Clause, matcher
from aats_core.query.expressions import Expression, Field, Literal
from aats_core.query.filters import Path
from aats_core.query.pipelines import Group
from aats_core.query.values import ARRAY, MAX_INT, MIN_INT
from aats_core.storage.evaluated.codec import decode
from aats_core.storage.evaluated.keys import LETTERS
from aats_core.store import Document
from aats_store_neo4j.catalog import Collection
from aats_store_neo4j.native import ALL, INEXACT, MANY, property_name
from aats_store_neo4j.search import Search
from aats_store_neo4j.sessions import Sessions

_EXTREME = {"$min": "min", "$max": "max"}
_MOST = 2000
"""Documents that one statement returns in order."""

_SMALL = 2**32
"""Integers up to here are added up by the server, whose sums have 64 bits."""

_RANK = (
    "CASE WHEN {0} IS NULL THEN 0 WHEN {0} IS :: STRING THEN 2 WHEN {0} IS :: BOOLEAN THEN 3"
    " WHEN {0} IS :: ZONED DATETIME THEN 4 ELSE 1 END"
)


class Pushdown:
    """Asks the server, of one collection and filter."""

    def __init__(self, sessions: Sessions, collection: Collection, clause: Clause) -> None:
        self._sessions = sessions
        self._clause = clause
        self._search = Search(collection, clause)

    async def _ask(self, rest: str, **parameters: Any) -> Any:
        rows = await self._sessions.read(self._search.statement(rest), **self._search.parameters, **parameters)
        return rows[0]

    async def count(self) -> int | None:
        """Return how many documents match: of inexact ones those that do."""
        if not self._search.exact:
            return None
        number, rest = await self._ask(
            f"RETURN count(CASE WHEN d.`{INEXACT}` IS NULL THEN 1 END),"
            f" collect(CASE WHEN d.`{INEXACT}` THEN d.`aats:body` END)"
        )
        return int(number) + sum(map(matcher(self._clause), map(decode, map(str.encode, rest))))

    async def page(self, order: Sequence[tuple[Path, int]], most: int) -> list[Document] | None:
        """Return the first so many documents that match, in that order."""
        names = [property_name(path) for path, _ in order]
        if not self._search.exact or most > _MOST or None in names:
            return None
        doubts = [f"d.`{INEXACT}` IS NOT NULL", *(_several(path) for path, _ in order)]
        keys = ["doubt DESC"]
        for name, (_, direction) in zip(names, order, strict=True):
            way = "DESC" if direction < 0 else "ASC"
            keys += [f"{_RANK.format(f'd.`{name}`')} {way}", f"d.`{name}` {way}"]
        (found,) = await self._ask(
            f"WITH d, {' OR '.join(doubts)} AS doubt ORDER BY {', '.join(keys)}, d.`aats:key` LIMIT $most"
            " RETURN collect([doubt, d.`aats:body`])",
            most=most,
        )
        return None if found and found[0][0] else [decode(body.encode()) for _, body in found]

    async def groups(self, stage: Group) -> list[Document] | None:
        """Return the groups by null or by a field, of counts, and of sums and averages of integers."""
        columns = [_column(accumulator, expression) for _, accumulator, expression in stage.fields]
        by = _path(stage.id)
        is_null = isinstance(stage.id, Literal) and stage.id.value is None
        if not self._search.exact or None in columns or not (by or is_null):
            return None
        known = [column for column in columns if column is not None]
        doubts = [f"d.`{INEXACT}` IS NOT NULL", *(column.doubt for column in known if column.doubt)]
        key = f"d.`{property_name(by)}`" if by else "null"
        if by:
            doubts += [_several(by), f"{key} IS :: FLOAT NOT NULL"]
        values = ", ".join(each for column in known for each in column.values) or "null"
        rows = await self._ask(
            f"WITH {key} AS key, count(*) AS number, count(CASE WHEN {' OR '.join(doubts)} THEN 1 END) AS doubt,"
            f" [{values}] AS made RETURN collect([key, number, doubt, made])"
        )
        if any(doubt for _, _, doubt, _ in rows[0]):
            return None
        return [_group(stage, known, key, made) for key, number, _, made in rows[0] if number]


class _Column(NamedTuple):
    """A field of a group: its aggregates in Cypher, what makes a document doubtful, and what becomes of them."""

    values: tuple[str, ...]
    accumulator: str
    doubt: str = ""
    constant: int = 1


def _several(path: Path) -> str:
    """Return the condition that there is something at a path that is no property, or an array on the way."""
    arrays = [f"'{LETTERS[ARRAY]}' IN d.`{ALL}{'.'.join(path[:end])}`" for end in range(1, len(path))]
    return " OR ".join([f"d.`{MANY}{'.'.join(path)}` IS NOT NULL", *(f"coalesce({each}, false)" for each in arrays)])


def _path(expression: Expression) -> Path | None:
    if isinstance(expression, Field) and expression.variable == "ROOT" and property_name(expression.path):
        return expression.path
    return None


def _column(accumulator: str, expression: Expression) -> _Column | None:
    if accumulator == "$count":
        return _Column(("count(*)",), "$sum")
    if accumulator == "$sum" and isinstance(expression, Literal) and expression.value.__class__ is int:
        return _Column(("count(*)",), "$sum", constant=expression.value)
    path = _path(expression)
    if path is None or accumulator not in ("$sum", "$avg", *_EXTREME):
        return None
    value = f"d.`{property_name(path)}`"
    integer = f"CASE WHEN {value} IS :: INTEGER NOT NULL THEN {value} END"
    doubt = f"{_several(path)} OR {value} IS :: FLOAT NOT NULL OR abs({integer}) > {_SMALL}"
    if accumulator in _EXTREME:
        return _Column((f"{_EXTREME[accumulator]}({integer})",), accumulator, f"{doubt} OR NOT {value} IS :: INTEGER")
    sums = (f"sum({integer})", f"count({integer})")
    return _Column(sums if accumulator == "$avg" else sums[:1], accumulator, doubt)


def _group(stage: Group, columns: Sequence[_Column], key: Any, found: Sequence[Any]) -> Document:
    made: Document = {"_id": key.to_native().astimezone(UTC) if isinstance(key, DateTime) else key}
    at = 0
    for (name, _, _), column in zip(stage.fields, columns, strict=True):
        values = found[at : at + len(column.values)]
        at += len(column.values)
        made[name] = _made(column, values)
    return made


def _made(column: _Column, found: Sequence[Any]) -> Any:
    if column.accumulator in _EXTREME:
        return found[0]
    if column.accumulator == "$avg":
        return float(found[0]) / found[1] if found[1] else None
    total = found[0] * column.constant
    return total if MIN_INT <= total <= MAX_INT else float(total)
