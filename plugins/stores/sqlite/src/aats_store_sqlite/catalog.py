"""Which collections there are, in which tables they lie, and what they must fit."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import apsw
import msgspec

from aats_core.storage.collection import KnownCollection
from aats_core.store import Schema


class Collection(KnownCollection, frozen=True, eq=False, dict=True):
    """A collection, the names of its tables, which need no quoting, and what it holds."""

    @property
    def table(self) -> str:
        """The table of its documents, with the columns `id` and `doc`."""
        return f"records_{self.id}"

    @property
    def text_table(self) -> str | None:
        """The full-text index over its documents, by their rowid."""
        return f"records_{self.id}_text" if self.text_paths else None

    @property
    def unique_table(self) -> str:
        """The keys that its unique indexes hold, with the columns `number`, `key` and `owner`."""
        return f"records_{self.id}_unique"


class Catalog:
    """The collections of a namespace. The writer changes some in its transaction; all see that once it is committed."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._changing = threading.Lock()
        self._committed: dict[str, Collection] = {}
        self._pending: dict[str, Collection] = {}
        self.has_checked = False
        """Whether some collection, as the writer sees them, may refuse a document."""

    def load(self, connection: apsw.Connection) -> None:
        """Read what the file holds."""
        self._pending.clear()
        self._committed = self._read(connection)
        self._look_for_checked()

    def get(self, name: str) -> Collection | None:
        """Return a collection as others than the writer see it."""
        return self._committed.get(name)

    def look_up(self, connection: apsw.Connection, name: str) -> Collection | None:
        """Return a collection that the file holds, made by another store perhaps, where `get` knows none."""
        if name not in self._committed and (found := self._read(connection, name)):
            with self._changing:
                self._committed = {**found, **self._committed}
                self._look_for_checked()
        return self._committed.get(name)

    def __iter__(self) -> Iterator[Collection]:
        """Go through the collections as others than the writer see them."""
        return iter(tuple(self._committed.values()))

    def in_writer(self, name: str) -> Collection | None:
        """Return a collection as the writer sees it."""
        return self._pending.get(name) or self._committed.get(name)

    def get_or_make(self, connection: apsw.Connection, name: str) -> Collection:
        """Return a collection as the writer sees it, made where it does not exist."""
        known = self.in_writer(name) or self.look_up(connection, name)
        if known is not None:
            return known
        connection.execute(
            "INSERT INTO aats_collections (namespace, name, schema) VALUES (?, ?, ?)",
            (self._namespace, name, msgspec.json.encode(Schema()).decode()),
        )
        collection = Collection(connection.last_insert_rowid(), name, Schema())
        connection.execute(f"CREATE TABLE {collection.table} (id PRIMARY KEY, doc TEXT NOT NULL)")
        self._pending[name] = collection
        return collection

    def replace(self, connection: apsw.Connection, collection: Collection) -> None:
        """Write the changed schema of a collection."""
        connection.execute(
            "UPDATE aats_collections SET schema = ? WHERE id = ?",
            (msgspec.json.encode(collection.schema).decode(), collection.id),
        )
        self._pending[collection.name] = collection
        self._look_for_checked()

    def committed(self) -> None:
        """Let all see what the writer's transaction changed."""
        if self._pending:
            with self._changing:
                self._committed = {**self._committed, **self._pending}
                self._pending.clear()

    def rolled_back(self, connection: apsw.Connection) -> None:
        """Forget what a rolled back part of the writer's transaction changed, but keep what is still in it."""
        if self._pending:
            stored = self._read(connection)
            self._pending = {name: stored[name] for name in self._pending if name in stored}
            self._look_for_checked()

    def _read(self, connection: apsw.Connection, name: str | None = None) -> dict[str, Collection]:
        rows = connection.execute(
            "SELECT id, name, schema FROM aats_collections WHERE namespace = ?1 AND name = ifnull(?2, name)",
            (self._namespace, name),
        )
        return {
            name: Collection(number, name, msgspec.json.decode(schema, type=Schema)) for number, name, schema in rows
        }

    def _look_for_checked(self) -> None:
        seen = {**self._committed, **self._pending}
        self.has_checked = any(collection.is_checked for collection in seen.values())
