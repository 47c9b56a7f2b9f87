"""What the server does of queries by itself, where its answer is exactly the right one; None where it may not be.

It is where all conditions can be said in Cypher, no document is marked as inexact, and what is sorted by, grouped by or
added up is a property of its own in every document that matches, or missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any, NamedTuple

from neo4j.exceptions import CypherTypeError
from neo4j.time import DateTime

from aats_core.errors import StoreError
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

_EXTREME = ("$min", "$max")
_MOST = 2000
"""Documents that one statement returns in order."""

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
        if self._search.finds_all:
            return int((await self._ask("RETURN count(d)"))[0])
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
        """Return the groups by null or by a field, of counts, and of sums, averages, minima and maxima of integers.

        To look at the type of each value would take the server longer than all the rest. That a sum is an integer says
        the same of what was added up; keys are looked at only where some are numbers, which may hide floats. Where
        documents lack a property, it is asked once more whether all of these lack the field.
        """
        columns = [_column(accumulator, expression) for _, accumulator, expression in stage.fields]
        by = _path(stage.id)
        is_null = isinstance(stage.id, Literal) and stage.id.value is None
        if not self._search.exact or None in columns or not (by or is_null):
            return None
        known = [column for column in columns if column is not None]
        key = f"d.`{property_name(by)}`" if by else "null"
        paths = [path for path in dict.fromkeys((by, *(each.path for each in known))) if path is not None]
        inexact = "0" if self._search.finds_all else f"count(d.`{INEXACT}`)"
        doubts = [inexact, *map(_lacking, paths)]
        found = await self._grouped(key, known, doubts)
        if any(group[2] for group in found or ()):
            doubts = [inexact, *map(_odd, paths)]
            found = await self._grouped(key, known, doubts)
        if any(group[0].__class__ in (int, float) for group in found or ()):
            doubts.append(f"count(CASE WHEN {key} IS :: FLOAT NOT NULL THEN 1 END)")
            found = await self._grouped(key, known, doubts)
        if found is None or any(doubt or not _are_integers(known, made) for _, _, doubt, made in found):
            return None
        return [_group(stage, known, key, made) for key, number, _, made in found if number]

    async def _grouped(self, key: str, columns: Sequence[_Column], doubts: Sequence[str]) -> list[Any] | None:
        """Return of each group its key, how many documents it has, how many of them are doubtful, and its values.

        None where the server cannot add up what it finds.
        """
        values = ", ".join(each for column in columns for each in column.values)
        try:
            (found,) = await self._ask(
                f"WITH {key} AS key, count(*) AS number, {' + '.join(doubts)} AS doubt, [{values}] AS made"
                " RETURN collect([key, number, doubt, made])"
            )
        except StoreError as error:
            if isinstance(error.__cause__, CypherTypeError):
                return None
            raise
        groups: list[Any] = found
        return groups


class _Column(NamedTuple):
    """A field of a group: its aggregates in Cypher; where there is a path, the last is the sum of what is there."""

    values: tuple[str, ...]
    accumulator: str
    path: Path | None = None
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
    first = {"$sum": (), "$avg": (f"count({value})",)}.get(accumulator, (f"{accumulator[1:]}({value})",))
    return _Column((*first, f"sum({value})"), accumulator, path)


def _lacking(path: Path) -> str:
    """Return what counts documents without a property for what is at a path."""
    return f"count(*) - count(d.`{'.'.join(path)}`)"


def _odd(path: Path) -> str:
    """Return what counts documents with something else than a property at a path, or with an array on the way.

    None of them has the property too. To find that a node lacks one takes reading all that it has.
    """
    name = ".".join(path)
    odd = [f"d.`{MANY}{name}` IS NOT NULL"]
    odd += [f"'{LETTERS[ARRAY]}' IN d.`{ALL}{'.'.join(path[:end])}`" for end in range(1, len(path))]
    return f"count(CASE WHEN d.`{name}` IS NULL THEN CASE WHEN {' OR '.join(odd)} THEN 1 END END)"


def _parts(columns: Sequence[_Column], made: Sequence[Any]) -> Iterator[tuple[_Column, Sequence[Any]]]:
    at = 0
    for column in columns:
        yield column, made[at : at + len(column.values)]
        at += len(column.values)


def _are_integers(columns: Sequence[_Column], made: Sequence[Any]) -> bool:
    return all(column.path is None or found[-1].__class__ is int for column, found in _parts(columns, made))


def _group(stage: Group, columns: Sequence[_Column], key: Any, found: Sequence[Any]) -> Document:
    parts = _parts(columns, found)
    made = {name: _made(*part) for (name, _, _), part in zip(stage.fields, parts, strict=True)}
    return {"_id": key.to_native().astimezone(UTC) if isinstance(key, DateTime) else key, **made}


def _made(column: _Column, found: Sequence[Any]) -> Any:
    if column.accumulator in _EXTREME:
        return found[0]
    if column.accumulator == "$avg":
        return float(found[1]) / found[0] if found[0] else None
    total = found[0] * column.constant
    return total if MIN_INT <= total <= MAX_INT else float(total)
