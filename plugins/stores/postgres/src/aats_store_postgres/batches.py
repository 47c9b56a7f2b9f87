"""Group commit: the writes of concurrent calls in one transaction, in one statement where they allow that.

Whole documents, new ones, and requirements on collections that do not change in the same batch go to the server in a
single statement. Where that fails, or there is more to do, every call has its own part of one transaction, so that
one that fails harms no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import asyncpg
import msgspec

from aats_core.errors import StoreError
from aats_core.storage.operations import Updating
from aats_store_postgres import changes
from aats_store_postgres.catalog import Collection
from aats_store_postgres.changes import REPLACE, Row, columns
from aats_store_postgres.failures import ROLLED_BACK, STALE, is_lost, translate
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Session

Collections: TypeAlias = Mapping[str, Collection]


class Putting(msgspec.Struct, frozen=True, gc=False):
    """A whole document, or with `new` one that must not exist."""

    name: str
    row: Row
    new: bool = False


class Changing(msgspec.Struct, frozen=True):
    """An update."""

    name: str
    updating: Updating[Query]


class Deleting(msgspec.Struct, frozen=True):
    """A deletion."""

    name: str
    query: Query


class Requiring(msgspec.Struct, frozen=True):
    """A requirement."""

    name: str
    query: Query


Step: TypeAlias = Putting | Changing | Deleting | Requiring
Call: TypeAlias = Sequence[Step]


async def write(session: Session, calls: Sequence[Call], collections: Collections) -> list[StoreError | None]:
    """Carry out calls and return what each of them met; raises where it was none of theirs, and nothing was done."""
    together = _Together(collections)
    if all(together.takes(step) for call in calls for step in call):
        try:
            if await together.write(session):
                return [None] * len(calls)
        except asyncpg.PostgresError as error:
            if concerns_all(error):
                raise
    return await _write_apart(session, calls, collections)


def concerns_all(error: Exception) -> bool:
    """Tell whether an error is about the session or the moment rather than about what one call asked for."""
    return is_lost(error) or isinstance(error, (*ROLLED_BACK, *STALE, asyncpg.QueryCanceledError))


class _Together:
    """The steps of several calls as one statement."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self._puts: dict[str, dict[str, Row]] = {}
        self._inserts: dict[str, dict[str, Row]] = {}
        self._required: list[Requiring] = []

    def takes(self, step: Step) -> bool:
        """Add a step; tells whether it can be part of the statement."""
        if isinstance(step, Putting):
            return self._put(step)
        return isinstance(step, Requiring) and self._require(step)

    def _put(self, step: Putting) -> bool:
        if self._collections[step.name].is_checked:
            return False
        puts, inserts = self._puts.setdefault(step.name, {}), self._inserts.setdefault(step.name, {})
        if step.row.key in inserts or (step.new and step.row.key in puts):
            return False
        (inserts if step.new else puts)[step.row.key] = step.row
        return True

    def _require(self, step: Requiring) -> bool:
        if step.name in self._puts or not step.query.exact:
            return False
        if not any(step.name == each.name and step.query.is_same(each.query) for each in self._required):
            self._required.append(step)
        return True

    async def write(self, session: Session) -> bool:
        """Write everything, or nothing where a requirement is not fulfilled."""
        fences: list[str] = []
        heads: list[str] = []
        arguments: list[Any] = []
        for number, step in enumerate(self._required):
            collection = self._collections[step.name]
            where = _shifted(step.query.where(collection), len(arguments))
            heads.append(
                f"r{number} AS MATERIALIZED (SELECT 1 FROM {collection.table} WHERE {where} LIMIT 1 {self._lock(step)})"
            )
            fences.append(f"EXISTS (SELECT 1 FROM r{number})")
            arguments += step.query.parameters
        condition = " AND ".join(fences) or "TRUE"
        for rows, tail in ((self._puts, REPLACE), (self._inserts, "")):
            for name, each in rows.items():
                if each:
                    source = f"unnest(${len(arguments) + 1}::text[], ${len(arguments) + 2}::text[]) AS u(id, body)"
                    arguments += columns(each[key] for key in sorted(each))
                    heads.append(
                        f"w{len(heads)} AS (INSERT INTO {self._collections[name].table} (id, body)"
                        f" SELECT id, body FROM {source} WHERE {condition}{tail})"
                    )
        return bool(await session.value(f"WITH {', '.join(heads)} SELECT {condition}", *arguments))

    def _lock(self, step: Requiring) -> str:
        return "FOR UPDATE" if step.name in self._puts else "FOR SHARE"


@lru_cache(maxsize=1024)
def _shifted(sql: str, by: int) -> str:
    """Return SQL whose parameters are numbered from another number on."""
    return re.sub(r"\$(\d+)::", lambda found: f"${int(found[1]) + by}::", sql) if by else sql


async def _write_apart(session: Session, calls: Sequence[Call], collections: Collections) -> list[StoreError | None]:
    await session.run("BEGIN; SAVEPOINT call")
    outcomes: list[StoreError | None] = []
    for call in calls:
        try:
            await perform(session, call, collections)
        except (StoreError, asyncpg.PostgresError) as error:
            if not isinstance(error, StoreError) and concerns_all(error):
                raise
            outcomes.append(_own(error))
            await session.run("ROLLBACK TO call")
        else:
            outcomes.append(None)
            await session.run("RELEASE call; SAVEPOINT call")
    await session.run("COMMIT")
    return outcomes


def _own(error: Exception) -> StoreError:
    translated = translate(error, "the database")
    if isinstance(translated, StoreError):
        if translated is not error:
            translated.__cause__ = error
        return translated
    return StoreError(str(translated))


async def perform(session: Session, call: Call, collections: Collections) -> None:
    """Carry out the steps of a call in order; neighbouring documents of a collection go into one statement."""
    at = 0
    while at < len(call):
        step, end = call[at], at + 1
        if isinstance(step, Putting):
            while end < len(call) and _continues(step, call[end]):
                end += 1
            rows = [each.row for each in call[at:end] if isinstance(each, Putting)]
            await (changes.insert if step.new else changes.put)(session, collections[step.name], rows)
        else:
            await _perform_one(session, step, collections[step.name])
        at = end


def _continues(step: Putting, following: Step) -> bool:
    return isinstance(following, Putting) and (following.name, following.new) == (step.name, step.new)


async def _perform_one(session: Session, step: Step, collection: Collection) -> Any:
    if isinstance(step, Changing):
        return await changes.update(session, collection, step.updating)
    if isinstance(step, Deleting):
        return await changes.delete(session, collection, step.query)
    assert isinstance(step, Requiring), "documents are written several at a time"
    return await changes.require(session, collection, step.query, step.name)
