"""Changes of a collection as they happen, without a gap over outages and restarts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from pymongo.errors import OperationFailure, PyMongoError

from aats_core.errors import StoreError, StoreUnavailable
from aats_core.store import Capability, Document
from aats_store_mongodb.database import Database
from aats_store_mongodb.failures import translate
from aats_store_mongodb.wire import restored

log = logging.getLogger("aats.store.mongodb")

_KINDS = ("insert", "update", "replace", "delete")
_END = "invalidate"
_FORGOTTEN = frozenset({136, 280, 286})
"""What the server answers where it does not know any more how to go on."""
_LONGEST_AWAIT = 1.0
"""Seconds that the server waits for a change before it says that there is none."""


class Change(msgspec.Struct, frozen=True):
    """What happened to a document: `insert`, `update`, `replace` or `delete`.

    `document` is the whole document as it is by the time the change is read; None where it is gone. `token` says where
    to go on after this change.
    """

    kind: str
    id: Any
    document: Document | None
    token: str


class ChangeStream(AsyncIterator[Change]):
    """Changes in the order in which they happened, each of them once; waits for the next one over all outages.

    `token` says where to go on after what was handed out so far.
    """

    def __init__(self, database: Database, name: str, token: str) -> None:
        self._database = database
        self._name = name
        self._stream: Any = None
        self._read_ahead: Any = None
        self.token = token

    async def open(self) -> None:
        """Begin, or go on where it was left off."""
        options = {"resume_after": {"_data": self.token}} if self.token else {}
        wait = round(min(_LONGEST_AWAIT, self._database.timeout / 2) * 1000)
        kinds = [{"$match": {"operationType": {"$in": [*_KINDS, _END]}}}]
        source = self._database.collection(self._name)
        self._stream, self._read_ahead = await self._database.driver.watch(
            source, kinds, full_document="updateLookup", max_await_time_ms=wait, **options
        )
        if self._read_ahead is None:
            self._note_place()

    async def close(self) -> None:
        """Have the server forget it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(PyMongoError):
                await stream.close()

    async def __anext__(self) -> Change:
        """Return the next change; raises `StoreError` where that is not known any more, or the collection is gone."""
        wait = 0.0
        while True:
            try:
                found = await self._next()
            except PyMongoError as error:
                await self.close()
                if not isinstance(wrong := self._translated(error), StoreUnavailable):
                    raise wrong from error
                if not wait:
                    log.warning("%s: changes cannot be watched, trying again: %s", self._name, wrong)
                wait = await self._database.pause(wait)
            except BaseException:
                await self.close()
                raise
            else:
                if found is not None:
                    return self._change(found)

    async def _next(self) -> Any:
        if self._stream is None:
            await self.open()
        found, self._read_ahead = self._read_ahead, None
        if found is None:
            found = await self._stream.try_next()
        if found is None:
            self._note_place()
        return found

    def _note_place(self) -> None:
        """Take note of how far the server has looked, as long as nothing is read that was not handed out."""
        if self._stream.resume_token is not None:
            self.token = self._stream.resume_token["_data"]

    def _change(self, found: Any) -> Change:
        if found["operationType"] == _END:
            raise StoreError(f"{self._name}: the collection was dropped, its changes end here")
        self.token = found["_id"]["_data"]
        key, document = restored([found["documentKey"]["_id"], found.get("fullDocument")])
        return Change(found["operationType"], key, document, self.token)

    def _translated(self, error: PyMongoError) -> StoreError:
        if isinstance(error, OperationFailure) and error.code in _FORGOTTEN:
            return StoreError(
                f"{self._name}: the server has forgotten what came after that token; read all and watch anew ({error})"
            )
        return translate(error, self._name)


class MongoChanges(Capability):
    """Change streams of MongoDB: what a majority of the servers has confirmed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def watch(self, collection: str, *, after: str = "") -> AsyncIterator[ChangeStream]:
        """Watch a collection from the moment of entering on, or from after the change that has that token."""
        stream = ChangeStream(self._database, collection, after)
        with self._database.call(collection, {"watch": collection}):
            await stream.open()
        try:
            yield stream
        finally:
            await stream.close()
