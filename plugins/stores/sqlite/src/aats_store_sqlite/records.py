"""The record store: documents in tables, written in common commits and read from snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import apsw

from aats_core.query import parse_filter, parse_sort, parse_update, sorted_by
from aats_core.store import (
    Delete,
    Document,
    Filter,
    Insert,
    Put,
    Records,
    RecordStore,
    Require,
    Schema,
    Update,
    UpdateResult,
    Write,
)
from aats_store_sqlite.catalog import Catalog, check_name
from aats_store_sqlite.codec import decode, encode, id_key
from aats_store_sqlite.compile import condition
from aats_store_sqlite.readers import Readers
from aats_store_sqlite.session import Session, Step, with_id
from aats_store_sqlite.writer import Writer


class SqliteRecords(RecordStore):
    """Documents in a SQLite file."""

    def __init__(self, writer: Writer, readers: Readers, catalog: Catalog) -> None:
        self._writer = writer
        self._readers = readers
        self._catalog = catalog

    async def write(self, operations: Sequence[Write]) -> None:
        """Apply all operations in one transaction, in a commit shared with whoever else writes just now."""
        steps = [_STEPS[operation.__class__](operation) for operation in operations]
        if not steps:
            return

        def run(session: Session) -> None:
            for step in steps:
                step(session)

        await self._writer.submit(run if len(steps) > 1 else steps[0], atomic=_fails_before_changing(operations))

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        """Write new documents and return their ids."""
        check_name(collection)
        complete = [with_id(document) for document in documents]
        rows = [part for document in complete for part in (id_key(document["_id"]), encode(document))]
        if rows:
            await self._writer.submit(lambda session: session.insert(collection, rows))
        return [document["_id"] for document in complete]

    async def find(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, int] | None = None,
        limit: int | None = None,
        skip: int = 0,
    ) -> list[Document]:
        """Return the documents that match."""
        clause = parse_filter(filter or {})
        order = parse_sort(sort or {}, "sort")

        def read(connection: apsw.Connection) -> list[Document]:
            known = self._catalog.get(collection)
            if known is None:
                return []
            sql, parameters = condition(clause)
            found = connection.execute(f"SELECT doc FROM {known.table} WHERE {sql}", parameters)
            documents = sorted_by((decode(text) for (text,) in found), order)
            return documents[skip:] if limit is None else documents[skip : skip + limit]

        return await self._readers.run(read)

    async def update(
        self,
        collection: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        upsert: bool = False,
        limit: int | None = None,
    ) -> UpdateResult:
        """Change every document that matches."""
        check_name(collection)
        clause, changes = parse_filter(filter), parse_update(update)
        result: UpdateResult = await self._writer.submit(
            lambda session: session.update(collection, clause, changes, upsert=upsert, limit=limit)
        )
        return result

    async def delete(self, collection: str, filter: Filter) -> int:
        """Delete every document that matches."""
        check_name(collection)
        clause = parse_filter(filter)
        count: int = await self._writer.submit(lambda session: session.delete(collection, clause))
        return count

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out."""
        raise NotImplementedError

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""
        clause = parse_filter(filter or {})

        def read(connection: apsw.Connection) -> int:
            known = self._catalog.get(collection)
            if known is None:
                return 0
            sql, parameters = condition(clause)
            count: int = connection.execute(f"SELECT count(*) FROM {known.table} WHERE {sql}", parameters).get
            return count

        return await self._readers.run(read)

    def transaction(self) -> AbstractAsyncContextManager[Records]:
        """Return a context in which reads and writes belong together."""
        raise NotImplementedError

    async def ensure(self, collection: str, schema: Schema) -> None:
        """Make the collection and its indexes as described."""
        check_name(collection)
        await self._writer.submit(lambda session: session.changed(collection))


def _fails_before_changing(operations: Sequence[Write]) -> bool:
    """Tell whether all that can fail comes before the first change, so that a failure leaves nothing to undo."""
    changed = False
    for operation in operations:
        kind = operation.__class__
        if kind is Update or (changed and kind in (Require, Insert)):
            return False
        changed = changed or kind is not Require
    return True


def _put(operation: Put) -> Step:
    name, document = check_name(operation.collection), with_id(operation.document)
    key, text = id_key(document["_id"]), encode(document)
    return lambda session: session.put(name, key, text)


def _insert(operation: Insert) -> Step:
    name, document = check_name(operation.collection), with_id(operation.document)
    rows = (id_key(document["_id"]), encode(document))
    return lambda session: session.insert(name, rows)


def _update(operation: Update) -> Step:
    name, clause = check_name(operation.collection), parse_filter(operation.filter)
    changes, upsert = parse_update(operation.update), operation.upsert
    return lambda session: session.update(name, clause, changes, upsert=upsert)


def _delete(operation: Delete) -> Step:
    name, clause = check_name(operation.collection), parse_filter(operation.filter)
    return lambda session: session.delete(name, clause)


def _require(operation: Require) -> Step:
    name, clause = check_name(operation.collection), parse_filter(operation.filter)
    return lambda session: session.require(name, clause)


_STEPS: dict[type, Any] = {Put: _put, Insert: _insert, Update: _update, Delete: _delete, Require: _require}
