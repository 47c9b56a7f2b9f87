"""`write`: what is asked for at the same time goes into one transaction, in as few commands as its order allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import bson
import msgspec
from pymongo import DeleteMany, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import PyMongoError

from aats_core.batching import Batcher
from aats_core.errors import Conflict, StoreError, StoreUnavailable
from aats_core.store import Delete, Document, Insert, Put, Require, Update, Write
from aats_store_mongodb.database import Database
from aats_store_mongodb.failures import TRANSIENT, translate
from aats_store_mongodb.queries import checked_filter, checked_update, complete, one_id
from aats_store_mongodb.wire import CODEC

_FENCE = "aats_fence"
"""A field that a required document has for a moment within the transaction, so that it counts as written there."""
_TOGETHER = 0.1
"""Seconds after which writes that share a transaction no longer wait for a document that others hold."""


class Step(msgspec.Struct, frozen=True):
    """An operation, checked: a request of the driver's, or for a requirement its filter."""

    collection: str
    request: Any = None
    required: dict[str, Any] | None = None
    document: Document | None = None
    """What it writes whole, so that it can be checked beforehand."""
    single: bool = False
    """Whether it changes one document at most, and so needs no transaction."""


class Writer:
    """Writes for all callers, one transaction at a time, so that they do not get into each other's way."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[Sequence[Step], bool | asyncio.Task[None]] = Batcher(self._together)
        self._slow: set[asyncio.Task[None]] = set()
        """Writes that go on for themselves, as they wait for a document that others hold."""

    async def write(self, operations: Sequence[Write]) -> None:
        """Apply all operations or none; what cannot be applied anywhere is refused before anything is sent."""
        steps = [_STEPS[operation.__class__](operation) for operation in operations]
        for step in steps:
            self._database.full_name(step.collection)
            if step.document is not None:
                await self._database.validators.check(step.collection, [step.document])
        written = await self._batcher.do(steps) if steps else True
        if isinstance(written, asyncio.Task):
            await asyncio.shield(written)
        elif not written:
            await self._alone(steps)

    async def drain(self) -> None:
        """Wait until everything that was asked for is written."""
        await self._batcher.drain()
        while self._slow:
            await asyncio.wait(self._slow)

    async def _alone(self, steps: Sequence[Step]) -> None:
        if _is_single([steps]):
            return await self._change(steps)
        with self._called([steps]):
            (outcome,) = await self._commit([steps])
        if outcome is not None:
            raise outcome
        return None

    async def _together(self, writes: list[Sequence[Step]]) -> list[bool | asyncio.Task[None] | BaseException]:
        """Write all of them in one transaction; returns False for each that has to be written on its own instead.

        That is where one of them spoils it, or others hold what one of them needs, which none of the rest shall wait
        for. Of a write that is under way still, it returns the task.
        """
        if _is_single(writes):
            return [await self._single(writes[0])]
        try:
            with self._called(writes):
                return [outcome or True for outcome in await self._commit(writes, patience=_TOGETHER)]
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(writes) == 1 and not isinstance(error, Conflict):
                raise
            return [False] * len(writes)

    async def _single(self, steps: Sequence[Step]) -> bool | asyncio.Task[None]:
        """Change one document, which takes no transaction."""
        task = asyncio.create_task(self._change(steps))
        done, _ = await asyncio.wait({task}, timeout=_TOGETHER)
        if done:
            await task
            return True
        self._slow.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._slow.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits sees it; there may be nobody

    async def _change(self, steps: Sequence[Step]) -> None:
        (step,) = steps
        with self._called([steps]):
            await self._database.collection(step.collection).bulk_write([step.request])

    def _called(self, writes: list[Sequence[Step]]) -> AbstractContextManager[None]:
        names = list(dict.fromkeys(step.collection for write in writes for step in write))
        return self._database.call(names[0], {"write": ", ".join(names)}, writing=True)

    async def _commit(self, writes: list[Sequence[Step]], *, patience: float | None = None) -> list[Conflict | None]:
        """Return what stands against each, as `_Gathering.run` does."""
        for name in {step.collection for write in writes for step in write}:
            await self._database.make(name)
        database = self._database
        return await database.transact(lambda session: _Gathering(database, session).run(writes), patience=patience)


def _is_single(writes: Sequence[Sequence[Step]]) -> bool:
    return len(writes) == 1 and len(writes[0]) == 1 and writes[0][0].single


class _Gathering:
    """The changes of one transaction, gathered by collection and sent when a requirement has to see them."""

    def __init__(self, database: Database, session: Any) -> None:
        self._database = database
        self._session = session
        self._requests: dict[str, list[Any]] = {}
        self._fulfilled: set[tuple[str, bytes]] = set()

    async def run(self, writes: list[Sequence[Step]]) -> list[Conflict | None]:
        """Return for each write None, or the `Conflict` of one that changed nothing; raises what spoils them all."""
        outcomes = [await self._one(write) for write in writes]
        for name in list(self._requests):
            await self._flush(name)
        return outcomes

    async def _one(self, write: Sequence[Step]) -> Conflict | None:
        changed = False
        for step in write:
            if step.required is None:
                self._fulfilled = {known for known in self._fulfilled if known[0] != step.collection}
                self._requests.setdefault(step.collection, []).append(step.request)
                changed = True
            elif not await self._holds(step.collection, step.required):
                conflict = Conflict(f"{step.collection}: no document is as the write requires it")
                if changed:
                    raise conflict
                return conflict
        return None

    async def _holds(self, name: str, wanted: dict[str, Any]) -> bool:
        """Tell whether a document matches, and keep it from being changed by others until the commit.

        MongoDB lets a transaction read what another changes meanwhile; only what both write do they conflict over. So
        the document is written and put back as it was.
        """
        asked = (name, bson.encode(wanted, codec_options=CODEC))
        if asked in self._fulfilled:
            return True
        await self._flush(name)
        target = self._database.collection(name)
        if not one_id(wanted):
            found = await target.find_one(wanted, projection={"_id": 1}, session=self._session)
            if found is None:
                return False
            wanted = {"_id": found["_id"]}
        write_and_restore = [
            UpdateOne(wanted, {"$set": {_FENCE: True}}),
            UpdateOne({"_id": wanted["_id"]}, {"$unset": {_FENCE: ""}}),
        ]
        done = await target.bulk_write(write_and_restore, session=self._session, bypass_document_validation=True)
        if done.modified_count < len(write_and_restore):
            return False
        self._fulfilled.add(asked)
        return True

    async def _flush(self, name: str) -> None:
        """Send what was gathered for a collection; raises the kernel's error where that spoils the transaction."""
        requests = self._requests.pop(name, None)
        if not requests:
            return
        try:
            await self._database.collection(name).bulk_write(requests, session=self._session)
        except PyMongoError as error:
            if error.has_error_label(TRANSIENT):
                raise
            raise translate(error, name, writing=True) from error


def _put(operation: Put) -> Step:
    document = complete(operation.document)
    request = ReplaceOne({"_id": document["_id"]}, document, upsert=True)
    return Step(operation.collection, request, document=document, single=True)


def _insert(operation: Insert) -> Step:
    document = complete(operation.document)
    return Step(operation.collection, InsertOne(document), document=document, single=True)


def _update(operation: Update) -> Step:
    wanted = checked_filter(operation.filter)
    changes = checked_update(operation.filter, operation.update, upsert=operation.upsert)
    return Step(operation.collection, UpdateMany(wanted, changes, upsert=operation.upsert), single=one_id(wanted))


def _delete(operation: Delete) -> Step:
    wanted = checked_filter(operation.filter)
    return Step(operation.collection, DeleteMany(wanted), single=one_id(wanted))


def _require(operation: Require) -> Step:
    return Step(operation.collection, required=checked_filter(operation.filter))


_STEPS: dict[type, Callable[[Any], Step]] = {
    Put: _put,
    Insert: _insert,
    Update: _update,
    Delete: _delete,
    Require: _require,
}
