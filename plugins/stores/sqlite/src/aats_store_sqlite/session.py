"""What the writer's thread does to documents, within whatever transaction it has open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import apsw

from aats_core.clock import Clock
from aats_core.errors import Conflict
from aats_core.query import is_modified, updated, upserted
from aats_core.query.values import normal
from aats_core.storage.operations import Updating, with_id
from aats_core.store import Schema, UpdateResult
from aats_store_sqlite import indexes
from aats_store_sqlite.catalog import Catalog, Collection
from aats_store_sqlite.codec import decode, encode
from aats_store_sqlite.identity import id_key
from aats_store_sqlite.queries import Query
from aats_store_sqlite.table import Table


class Session:
    """The writer's connection, with whole documents gathered so that many of them go into one statement."""

    def __init__(self, connection: apsw.Connection, catalog: Catalog, clock: Clock) -> None:
        self.connection = connection
        self.catalog = catalog
        self._clock = clock
        self._puts: dict[str, list[Any]] = {}
        self._fulfilled: dict[str, set[tuple[str, tuple[Any, ...]]]] = {}

    def put(self, name: str, key: Any, text: str) -> None:
        """Write a whole document, at the latest with `flush`."""
        self._fulfilled.pop(name, None)
        rows = self._puts.get(name)
        if rows is None:
            rows = self._puts[name] = []
        rows.append(key)
        rows.append(text)

    def flush(self, name: str | None = None) -> None:
        """Write what was gathered, of one collection or of all."""
        for each in list(self._puts) if name is None else [name]:
            rows = self._puts.pop(each, None)
            if rows:
                Table(self.connection, self.catalog.get_or_make(self.connection, each)).put(rows)

    def commit(self) -> None:
        """Write what was gathered and commit."""
        self.flush()
        self.connection.execute("COMMIT")
        self.catalog.committed()
        self._fulfilled.clear()

    def roll_back(self) -> None:
        """Forget what was gathered, and roll back where SQLite has not done so already."""
        self._puts.clear()
        self._fulfilled.clear()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self.catalog.rolled_back(self.connection)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done within, and nothing else, where it raises."""
        self.flush()
        self.connection.execute("SAVEPOINT step")
        try:
            yield
            self.flush()
        except BaseException:
            self._puts.clear()
            self._fulfilled.clear()
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO step")
                self.connection.execute("RELEASE step")
                self.catalog.rolled_back(self.connection)
            raise
        self.connection.execute("RELEASE step")

    def collection(self, name: str) -> Collection | None:
        """Return a collection that is about to be read, all that was gathered for it being written."""
        self.flush(name)
        return self.catalog.in_writer(name)

    def _changing(self, name: str) -> Collection:
        self._fulfilled.pop(name, None)
        self.flush(name)
        return self.catalog.get_or_make(self.connection, name)

    def require(self, name: str, query: Query) -> None:
        """Raise `Conflict` where no document matches; asked again before the collection changes, it need not look."""
        fulfilled = self._fulfilled.setdefault(name, set())
        asked = (query.condition.sql, query.parameters)
        if asked in fulfilled:
            return
        collection = self.collection(name)
        if collection is None or not self._exists(collection, query):
            raise Conflict(f"{name}: no document is as the write requires it")
        fulfilled.add(asked)

    def _exists(self, collection: Collection, query: Query) -> bool:
        sql = f"SELECT EXISTS (SELECT 1 FROM {collection.table} WHERE {query.where(collection)})"
        return bool(self.connection.execute(sql, query.parameters).get)

    def insert(self, name: str, rows: Sequence[Any]) -> None:
        """Write new documents, keys and stored forms in turn; see `Table.insert`."""
        Table(self.connection, self._changing(name)).insert(rows)

    def update(self, name: str, updating: Updating[Query]) -> UpdateResult:
        """Change the documents that match, or make one that does."""
        collection = self._changing(name)
        table, modified = Table(self.connection, collection), 0
        found = self._matching(collection, updating)
        for key, text in found:
            old = decode(text)
            new = updated(old, updating.changes, updating.now)
            if is_modified(old, new, updating.changes):
                table.put((key, encode(new)))
                modified += 1
        if found or updating.upsert is None:
            return UpdateResult(len(found), modified)
        made = with_id(upserted(updating.upsert, updating.changes, updating.now))
        table.insert((id_key(made["_id"]), encode(made)))
        return UpdateResult(0, 0, made["_id"])

    def _matching(self, collection: Collection, updating: Updating[Query]) -> list[Any]:
        sql = f"SELECT id, doc FROM {collection.table} WHERE {updating.query.where(collection)} LIMIT ?"
        limit = -1 if updating.limit is None else updating.limit
        return self.connection.execute(sql, (*updating.query.parameters, limit)).fetchall()

    def delete(self, name: str, query: Query) -> int:
        """Delete the documents that match and return how many there were."""
        collection = self._changing(name)
        sql = f"DELETE FROM {collection.table} WHERE {query.where(collection)}"
        self.connection.execute(sql, query.parameters)
        return self.connection.changes()

    def ensure(self, name: str, schema: Schema) -> None:
        """Make a collection and its indexes; see `indexes.ensure`."""
        self._changing(name)
        indexes.ensure(self.connection, self.catalog, name, schema)

    def now(self) -> datetime:
        """Return the time in UTC, to the millisecond."""
        now: datetime = normal(datetime.fromtimestamp(self._clock.time(), UTC))
        return now


Step: TypeAlias = Callable[[Session], Any]
"""Something to do in the writer's thread."""
