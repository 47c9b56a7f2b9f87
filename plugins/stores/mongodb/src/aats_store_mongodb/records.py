"""The record store: documents in collections, each change on its own or in a transaction."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, TypeVar

import pymongo

from aats_core.store import Document, Filter, Records, RecordStore, Schema, Write
from aats_store_mongodb import schemas
from aats_store_mongodb.database import Database, ended
from aats_store_mongodb.failures import translated
from aats_store_mongodb.operations import Operations
from aats_store_mongodb.queries import checked_filter, checked_options
from aats_store_mongodb.streaming import stream
from aats_store_mongodb.writing import Writer

T = TypeVar("T")

_LONGEST_ENSURE = 3600.0
"""Seconds that making the indexes of a large collection may take."""


class MongoRecords(Operations, RecordStore):
    """Documents in a MongoDB database."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._writer = Writer(database)

    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        return await self._database.repeat(lambda: work(None))

    async def _change(self, name: str, work: Callable[[Any], Awaitable[T]], *, single: bool) -> T:
        """Have the server do it alone where it changes one document, and otherwise in a transaction."""
        if single:
            return await work(None)
        await self._database.make(name)
        return await self._database.transact(lambda session: ended(work(session)))

    async def write(self, operations: Sequence[Write]) -> None:
        """Apply all operations in one transaction, shared with whoever else writes just now."""
        await self._writer.write(operations)

    async def stream(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Document, None]:
        """Yield the documents that match, a few hundred at a time."""
        wanted, options = checked_filter(filter), checked_options(projection, sort, None, 0)
        async with aclosing(stream(self._database, collection, wanted, options)) as found:
            async for document in found:
                yield document

    async def drain(self) -> None:
        """Wait until everything that was asked for is written."""
        await self._writer.drain()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Records]:
        with translated("transaction"):
            async with self._database.session() as session:
                yield InTransaction(self._database, session)
                with self._database.call("transaction", {"commit": "transaction"}):
                    await self._database.commit(session)

    def transaction(self) -> AbstractAsyncContextManager[Records]:
        """Return a context in which reads and writes belong together.

        Raises `Conflict` where someone else changed what it changes; do all of it again then.
        """
        return self._transaction()

    async def ensure(self, collection: str, schema: Schema) -> None:
        """Make the collection and what it lacks of the schema; indexes that the schema does not name stay."""
        with translated(collection), pymongo.timeout(_LONGEST_ENSURE):
            await schemas.ensure(self._database, collection, schema)


class InTransaction(Operations):
    """Operations that see what the transaction has written."""

    def __init__(self, database: Database, session: Any) -> None:
        super().__init__(database)
        self._session = session
        self._begun = False

    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        self._begun = True
        return await ended(work(self._session))

    async def _change(self, name: str, work: Callable[[Any], Awaitable[T]], *, single: bool) -> T:  # noqa: ARG002
        """Have it done in the session; all the changes of a transaction are of one kind.

        The server takes the snapshot with the first operation and then does not see what is made outside: until then
        a missing collection is made outside, afterwards within the transaction.
        """
        if not self._begun:
            await self._database.make(name)
        self._begun = True
        return await ended(work(self._session))
