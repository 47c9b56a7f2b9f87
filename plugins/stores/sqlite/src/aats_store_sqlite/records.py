"""The record store: documents in tables, written in common commits and read from snapshots."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import apsw

from aats_core.clock import Clock
from aats_core.storage.collection import check_name
from aats_core.storage.operations import CheckedRecordStore, with_id
from aats_core.storage.queries import Order
from aats_core.store import (
    Delete,
    Document,
    Insert,
    Put,
    Records,
    Require,
    Schema,
    Update,
    Write,
)
from aats_store_sqlite import indexes, reading
from aats_store_sqlite.catalog import Catalog, Collection
from aats_store_sqlite.codec import encode
from aats_store_sqlite.identity import id_key
from aats_store_sqlite.operations import Operations, Read
from aats_store_sqlite.queries import Query, make_queries
from aats_store_sqlite.readers import Readers
from aats_store_sqlite.session import Session, Step
from aats_store_sqlite.transaction import Transaction
from aats_store_sqlite.writer import Writer

T = TypeVar("T")


class SqliteRecords(Operations, CheckedRecordStore[Query]):
    """Documents in a SQLite file."""

    def __init__(
        self, writer: Writer, readers: Readers, catalog: Catalog, clock: Clock, transaction_timeout: float
    ) -> None:
        super().__init__(make_queries(), clock)
        self._writer = writer
        self._readers = readers
        self._catalog = catalog
        self._transaction_timeout = transaction_timeout

    async def write(self, operations: Sequence[Write]) -> None:
        """Apply all operations in one transaction, in a commit shared with whoever else writes just now."""
        steps = [self._step(operation) for operation in operations]
        if len(steps) == 1:
            await self._writer.submit(steps[0], atomic=operations[0].__class__ is not Update)
        elif steps:

            def run(session: Session) -> None:
                for step in steps:
                    step(session)

            await self._writer.submit(run, atomic=_fails_before_changing(operations))

    def _step(self, operation: Write) -> Step:
        name = check_name(operation.collection)
        if isinstance(operation, Put | Insert):
            document = with_id(operation.document)
            key, text = id_key(document["_id"]), encode(document)
            if isinstance(operation, Put):
                return lambda session: session.put(name, key, text)
            return lambda session: session.insert(name, (key, text))
        if isinstance(operation, Update):
            updating = self._updating(operation.filter, operation.update, upsert=operation.upsert)
            return lambda session: session.update(name, updating)
        query = self._queries.query(operation.filter)
        if isinstance(operation, Delete):
            return lambda session: session.delete(name, query)
        return lambda session: session.require(name, query)

    async def _read(self, name: str, read: Read[T]) -> T:
        def run(connection: apsw.Connection) -> T:
            return read(connection, self._known(connection, name), lambda other: self._known(connection, other))

        return await self._readers.run(run)

    def _known(self, connection: apsw.Connection, name: str) -> Collection | None:
        return self._catalog.get(name) or self._catalog.look_up(connection, name)

    def _stream(self, name: str, query: Query, order: Order) -> AsyncGenerator[Document, None]:
        """Yield the documents that match as one snapshot has them."""

        def read(connection: apsw.Connection) -> Iterator[Document]:
            return reading.stream(connection, self._known(connection, name), query, order)

        return self._readers.iterate(read)

    async def _change(self, step: Step) -> Any:
        return await self._writer.submit(step)

    def transaction(self) -> AbstractAsyncContextManager[Records]:
        """Return a context that has the writer's thread for itself."""
        return Transaction(self._writer, self._queries, self._clock, self._transaction_timeout)

    async def ensure(self, collection: str, schema: Schema) -> None:
        """Make the collection and what it lacks of the schema; indexes that the schema does not name stay."""
        indexes.check(check_name(collection), schema)
        await self._writer.submit(lambda session: session.ensure(collection, schema))


def _fails_before_changing(operations: Sequence[Write]) -> bool:
    """Tell whether all that can fail comes before the first change, so that a failure leaves nothing to undo."""
    changed = False
    for operation in operations:
        kind = operation.__class__
        if kind is Update or (changed and kind in (Require, Insert)):
            return False
        changed = changed or kind is not Require
    return True
