"""The record store: documents in tables, written in common commits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from aats_core.batching import Batcher
from aats_core.clock import Clock
from aats_core.errors import DuplicateKey, StoreError
from aats_core.storage.collection import check_name
from aats_core.storage.operations import CheckedRecordStore, Updating, with_id
from aats_core.storage.queries import Order
from aats_core.store import (
    Delete,
    Document,
    Insert,
    Put,
    Records,
    Schema,
    Update,
    UpdateResult,
    Write,
)
from aats_store_postgres import batches, changes, indexes
from aats_store_postgres.batches import Call, Changing, Deleting, Putting, Requiring, Step
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.changes import row_of
from aats_store_postgres.operations import Change, Operations, Read
from aats_store_postgres.points import Points
from aats_store_postgres.pool import Pool
from aats_store_postgres.queries import Query, make_queries
from aats_store_postgres.session import Session
from aats_store_postgres.sources import Source
from aats_store_postgres.transaction import Transaction

T = TypeVar("T")

_LANES = 2
"""Batches that may be under way at once: while one waits for the disk, the next is computed."""

_FEW = 50
"""Documents of one insert that may share a commit with others; more are copied in a transaction of their own."""

_LONGEST_ENSURE = 3600.0
"""Seconds that making the indexes of a large collection may take."""

_UPSERTS = 3
"""Attempts of an upsert, where another client makes the document in between."""


class PostgresRecords(Operations, CheckedRecordStore[Query]):
    """Documents in a PostgreSQL database."""

    def __init__(self, pool: Pool, catalog: Catalog, source: Source, clock: Clock, transaction_timeout: float) -> None:
        super().__init__(make_queries(), clock)
        self._pool = pool
        self._catalog = catalog
        self._source = source
        self._transaction_timeout = transaction_timeout
        self._points = Points(pool, catalog)
        self._batches: Batcher[Call, None] = Batcher(self._write_batch, lanes=_LANES)

    async def drain(self) -> None:
        """Wait until all writes that were begun have ended."""
        await self._batches.drain()
        await self._points.drain()

    # Writes

    async def write(self, operations: Sequence[Write]) -> None:
        """Apply all operations in one transaction, in a commit shared with whoever else writes just now."""
        if operations:
            await self._batches.do([self._step(operation) for operation in operations])

    def _step(self, operation: Write) -> Step:
        name = check_name(operation.collection)
        if isinstance(operation, Put | Insert):
            return Putting(name, row_of(with_id(operation.document)), isinstance(operation, Insert))
        if isinstance(operation, Update):
            return Changing(name, self._updating(operation.filter, operation.update, upsert=operation.upsert))
        query = self._queries.query(operation.filter)
        return Deleting(name, query) if isinstance(operation, Delete) else Requiring(name, query)

    async def _write_batch(self, calls: list[Call]) -> Sequence[BaseException | None]:
        names = {step.name for call in calls for step in call}
        for name in names:
            await self._made(name)

        async def work(session: Session) -> Sequence[StoreError | None]:
            collections = {name: await self._known(session, name) for name in names}
            return await batches.write(session, calls, collections)

        return await self._pool.run(work)

    async def _insert(self, name: str, documents: Sequence[Document]) -> None:
        if len(documents) <= _FEW:
            await self._batches.do([Putting(name, row_of(document), new=True) for document in documents])
        elif (await self._made(name)).is_checked:
            await super()._insert(name, documents)
        else:

            async def work(session: Session) -> None:
                await changes.copy(session, await self._known(session, name), documents)

            await self._pool.run(work)

    async def _update(self, name: str, updating: Updating[Query]) -> UpdateResult:
        for _ in range(1 if updating.upsert is None else _UPSERTS):
            try:
                return await super()._update(name, updating)
            except DuplicateKey as error:
                failure = error
        raise failure

    async def _change(self, name: str, change: Change[T]) -> T:
        await self._made(name)

        async def work(session: Session) -> T:
            known = await self._known(session, name)
            await session.run("BEGIN")
            result = await change(session, known)
            await session.run("COMMIT")
            return result

        return await self._pool.run(work)

    # Reads

    async def _find(self, name: str, query: Query, order: Order, limit: int | None, skip: int) -> list[Document]:
        if not skip and limit != 0 and self._points.takes(query):
            return await self._points.find(name, query)
        return await super()._find(name, query, order, limit, skip)

    async def _read(self, name: str, read: Read[T]) -> T:
        return await self._source.read(name, read)

    def _stream(self, name: str, query: Query, order: Order) -> AsyncGenerator[Document, None]:
        return self._source.stream(name, query, order)

    # Collections

    async def _made(self, name: str) -> Collection:
        """Return a collection, made outside of any transaction where it does not exist."""
        known = self._catalog.get(name)
        if known is None:
            known = await self._pool.run_aside(lambda session: self._catalog.make(session, name))
        return known

    async def _known(self, session: Session, name: str) -> Collection:
        """Return a collection that exists; it is looked up again where its schema has changed."""
        found = self._catalog.get(name) or await self._catalog.find(session, name)
        assert found is not None, "it was made before"
        return found

    def transaction(self) -> AbstractAsyncContextManager[Records]:
        """Return a context with a session of its own, which sees one snapshot and what it writes itself.

        Where others changed the same documents meanwhile, a write in it raises `Conflict`.
        """
        return Transaction(self._pool, self._queries, self._clock, self._made, self._transaction_timeout)

    async def ensure(self, collection: str, schema: Schema) -> None:
        """Make the collection and what it lacks of the schema; indexes that the schema does not name stay."""
        indexes.check(check_name(collection), schema)
        await self._made(collection)
        await self._pool.run_aside(
            lambda session: indexes.ensure(session, self._catalog, collection, schema), timeout=_LONGEST_ENSURE
        )
