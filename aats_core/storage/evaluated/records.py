"""A record store over a database that cannot evaluate queries: its calls, its transactions, and how conflicts end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from aats_core.batching import Batcher
from aats_core.clock import Clock
from aats_core.errors import Conflict, DuplicateKey, StoreError, StoreUnavailable
from aats_core.query import Clause, parse_projection, project, sorted_by
from aats_core.query.filters import Path
from aats_core.storage.collection import check_name, check_schema
from aats_core.storage.evaluated.codec import decode
from aats_core.storage.evaluated.database import Database
from aats_core.storage.evaluated.keys import id_key, is_about_id, wanted_keys
from aats_core.storage.evaluated.operations import Operations, Step
from aats_core.storage.evaluated.unit import Unit
from aats_core.storage.operations import CheckedRecordStore
from aats_core.storage.queries import Order
from aats_core.store import Document, Records, Schema, Write

T = TypeVar("T")

Call = Sequence[Step]
"""What one caller asks for: all of it or nothing."""

_UPSERTS = 3
"""Attempts of an upsert, where another client makes the document in between."""
_PAGE = 500
"""Documents that a sorted stream reads at a time."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.2
"""Seconds between attempts, growing by the half."""


class EvaluatedRecords(Operations, CheckedRecordStore[Clause]):
    """Documents in a database that keeps them under their keys and narrows down which can match.

    Changes that name their documents by `_id` share a commit with those of other callers. A change whose documents
    others changed meanwhile is tried again, with growing pauses and jitter, until the database's timeout; then it
    raises `Conflict`.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        Operations.__init__(self, clock, database.largest)
        self._database = database
        self._batches: Batcher[Call, list[Any]] = Batcher(self._apply_batch)

    async def drain(self) -> None:
        """Wait until all writes that were begun have ended."""
        await self._batches.drain()

    def _reading(self) -> Unit:
        return Unit(self._database)

    async def _find(self, name: str, query: Clause, order: Order, limit: int | None, skip: int) -> list[Document]:
        if is_about_id(query):
            (body,) = await self._database.fetch(name, wanted_keys(query) or ())
            return [] if body is None or skip or limit == 0 else [decode(body)]
        return await super()._find(name, query, order, limit, skip)

    async def write(self, operations: Sequence[Write]) -> None:
        """Apply all operations in one commit, or none of them."""
        if operations:
            await self._change([self._step(operation) for operation in operations])

    async def _change(self, steps: Call) -> list[Any]:
        if all(step.keys is not None for step in steps):
            return await self._batches.do(steps)
        return await self._attempt(lambda unit: _apply(unit, steps))

    async def _apply_batch(self, calls: list[Call]) -> Sequence[list[Any] | BaseException]:
        try:
            return await self._attempt(lambda unit: _apply_each(unit, calls))
        except DuplicateKey:
            if len(calls) == 1:
                raise
        # Whose new document is there already shows when each is alone.
        return [await self._outcome(call) for call in calls]

    async def _outcome(self, call: Call) -> list[Any] | BaseException:
        try:
            return await self._attempt(lambda unit: _apply(unit, call))
        except StoreError as error:
            return error

    async def _attempt(self, work: Callable[[Unit], Awaitable[T]]) -> T:
        """Do some work in a unit and commit it, again where others were in the way."""
        loop = asyncio.get_running_loop()
        until, pause, upserts = loop.time() + self._database.timeout, _FIRST_PAUSE, 0
        unit = Unit(self._database)
        while True:
            try:
                result = await work(unit)
                if await unit.commit():
                    return result
            except DuplicateKey:
                upserts += unit.upserts
                if not unit.upserts or upserts == _UPSERTS:
                    raise
            if loop.time() > until:
                raise Conflict(f"{', '.join(unit.names)}: others keep changing the same documents; try again")
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads attempts, hides nothing
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            for name in unit.names:
                await self._database.collection(name, fresh=True)
            unit = Unit(self._database)

    async def _stream(self, name: str, query: Clause, order: Order) -> AsyncGenerator[Document, None]:
        """Yield documents as they come; in an order only what they are sorted by is held, then they are read again."""
        unit = self._reading()
        if not order:
            async with aclosing(unit.matching(name, query)) as batches:
                async for batch in batches:
                    for _, document, _ in batch:
                        yield document
            return
        kept = parse_projection({**{".".join(path): 1 for path, _ in order}, "_id": 1})
        found = [project(document, kept) async for batch in unit.matching(name, query) for _, document, _ in batch]
        keys = [id_key(each["_id"]) for each in sorted_by(found, order)]
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            documents = await self._reading().read(name, page, query)
            for key in page:
                if key in documents:
                    yield documents[key]

    def transaction(self) -> AbstractAsyncContextManager[Records]:
        """Return a context whose reads and writes are committed in one step at its end.

        Raises `Conflict` then, or earlier, where others changed something that was read in it; begin it again.
        """
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Records]:
        unit = Unit(self._database, repeatable=True)
        inside = _InTransaction(unit, self._clock, self._largest)
        try:
            yield inside
        finally:
            inside.ended = True
        if not await unit.commit():
            raise Conflict(
                f"{', '.join(unit.names)}: others changed what the transaction has read or written; begin it again"
            )

    async def ensure(self, collection: str, schema: Schema) -> None:
        """Make the collection and what it lacks of the schema; indexes that the schema does not name stay."""
        check_schema(check_name(collection), schema, _no_flaw)
        await self._database.ensure(collection, schema)

    async def expire(self, names: Sequence[str], now: datetime | None = None) -> None:
        """Delete the documents of collections whose time has run out by then, or by the clock of this process."""
        for name in names:
            known = await self._database.collection(name, fresh=True)
            for field, seconds in known.expiries:
                before = (now or self._now()) - timedelta(seconds=seconds)
                await self.delete(name, {field: {"$lte": before}})


class _InTransaction(Operations):
    """Operations within a unit that is committed later."""

    def __init__(self, unit: Unit, clock: Clock, largest: int) -> None:
        super().__init__(clock, largest)
        self._unit = unit
        self._turn = asyncio.Lock()
        self.ended = False

    def _reading(self) -> Unit:
        if self.ended:
            raise StoreError("the transaction has ended")
        return self._unit

    async def _change(self, steps: Call) -> list[Any]:
        async with self._turn:
            unit = self._reading()
            await _look(unit, [steps])
            with unit.step():
                return [await step.apply(unit) for step in steps]


async def _apply(unit: Unit, call: Call) -> list[Any]:
    await _look(unit, [call])
    return [await step.apply(unit) for step in call]


async def _apply_each(unit: Unit, calls: Sequence[Call]) -> list[list[Any] | BaseException]:
    """Apply calls, each of them or, where it fails, nothing of it."""
    await _look(unit, calls)
    outcomes: list[list[Any] | BaseException] = []
    for call in calls:
        try:
            with unit.step():
                outcomes.append([await step.apply(unit) for step in call])
        except StoreUnavailable:
            raise
        except StoreError as error:
            outcomes.append(error)
    return outcomes


async def _look(unit: Unit, calls: Sequence[Call]) -> None:
    """Read together what the steps look at, each collection at once."""
    wanted: dict[str, dict[str, None]] = {}
    for call in calls:
        for step in call:
            if step.keys:
                wanted.setdefault(step.name, {}).update(dict.fromkeys(step.keys))
    for name, keys in wanted.items():
        await unit.look(name, keys)


def _no_flaw(_: Path) -> str:
    return ""
