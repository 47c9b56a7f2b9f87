"""What the writer's thread does to documents, within whatever transaction it has open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import apsw

from aats_core.clock import Clock
from aats_core.errors import Conflict, DuplicateKey
from aats_core.message import new_id
from aats_core.query import Changes, Clause, updated, upserted
from aats_core.query.values import identical, normal
from aats_core.store import Document, UpdateResult
from aats_store_sqlite.catalog import Catalog, Collection
from aats_store_sqlite.codec import decode, encode, id_key
from aats_store_sqlite.compile import condition

_ROWS = (64, 8, 1)
"""How many rows one statement writes: each statement costs the thread a turn for the interpreter's lock."""


class Session:
    """The writer's connection, with whole documents gathered so that many of them go into one statement."""

    def __init__(self, connection: apsw.Connection, catalog: Catalog, clock: Clock) -> None:
        self.connection = connection
        self.catalog = catalog
        self._clock = clock
        self._puts: dict[str, list[Any]] = {}
        self._required: dict[str, set[Any]] = {}

    def put(self, name: str, key: Any, text: str) -> None:
        """Write a whole document, at the latest when the transaction is committed."""
        self._required.pop(name, None)
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
                table = self.catalog.get_or_make(self.connection, each).table
                self._write_rows(
                    f"INSERT INTO {table} (id, doc) VALUES ", rows, " ON CONFLICT (id) DO UPDATE SET doc = excluded.doc"
                )

    def discard(self) -> None:
        """Forget what was gathered and what is known of the transaction, which was rolled back."""
        self._puts.clear()
        self._required.clear()

    def changed(self, name: str) -> Collection:
        """Return a collection that is about to be changed, all that was gathered for it being written."""
        self._required.pop(name, None)
        self.flush(name)
        return self.catalog.get_or_make(self.connection, name)

    def require(self, name: str, clause: Clause) -> None:
        """Raise `Conflict` where no document matches."""
        sql, parameters = condition(clause)
        known = self._required.setdefault(name, set())
        key = (sql, parameters)
        if key in known:
            return
        self.flush(name)
        collection = self.catalog.in_writer(name)
        if (
            collection is None
            or not self.connection.execute(
                f"SELECT EXISTS (SELECT 1 FROM {collection.table} WHERE {sql})", parameters
            ).get
        ):
            raise Conflict(f"{name}: no document is as the write requires it")
        known.add(key)

    def insert(self, name: str, rows: Sequence[Any]) -> None:
        """Write new documents, keys and texts in turn; raises `DuplicateKey`, some of them perhaps being written."""
        table = self.changed(name).table
        try:
            self._write_rows(f"INSERT INTO {table} (id, doc) VALUES ", rows, "")
        except apsw.ConstraintError as error:
            raise DuplicateKey(f"{name}: a document with that _id exists already{self._which(table, rows)}") from error

    def update(
        self, name: str, clause: Clause, changes: Changes, *, upsert: bool = False, limit: int | None = None
    ) -> UpdateResult:
        """Change the documents that match."""
        collection = self.changed(name)
        now = self.now()
        found = self.rows(collection, clause, limit)
        modified = 0
        for key, text in found:
            old = decode(text)
            new = updated(old, changes, now)
            if not identical(old, new):
                self.connection.execute(f"UPDATE {collection.table} SET doc = ? WHERE id = ?", (encode(new), key))
                modified += 1
        if found or not upsert:
            return UpdateResult(len(found), modified)
        return UpdateResult(0, 0, self._upsert(name, upserted(clause, changes, now)))

    def _upsert(self, name: str, document: Document) -> Any:
        document = with_id(document)
        self.insert(name, (id_key(document["_id"]), encode(document)))
        return document["_id"]

    def delete(self, name: str, clause: Clause) -> int:
        """Delete the documents that match and return how many there were."""
        collection = self.changed(name)
        sql, parameters = condition(clause)
        self.connection.execute(f"DELETE FROM {collection.table} WHERE {sql}", parameters)
        return self.connection.changes()

    def rows(self, collection: Collection, clause: Clause, limit: int | None = None) -> list[tuple[Any, str]]:
        """Return keys and texts of the documents that match."""
        sql, parameters = condition(clause)
        found: list[Any] = self.connection.execute(
            f"SELECT id, doc FROM {collection.table} WHERE {sql} LIMIT ?",
            (*parameters, -1 if limit is None else limit),
        ).fetchall()
        return found

    def now(self) -> datetime:
        """Return the time in UTC, to the millisecond."""
        now: datetime = normal(datetime.fromtimestamp(self._clock.time(), UTC))
        return now

    def _write_rows(self, head: str, rows: Sequence[Any], tail: str) -> None:
        at, end = 0, len(rows)
        for count in _ROWS:
            step = 2 * count
            sql = f"{head}{', '.join(['(?, ?)'] * count)}{tail}" if end - at >= step else ""
            while end - at >= step:
                self.connection.execute(sql, rows[at : at + step])
                at += step

    def _which(self, table: str, rows: Sequence[Any]) -> str:
        for key in rows[::2]:
            if self.connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE id = ?)", (key,)).get:
                return f": {key!r}"
        return ""


def with_id(document: Document) -> Document:
    """Return a document with an `_id`, a new one in front where it has none."""
    return document if "_id" in document else {"_id": new_id(), **document}


Step = Callable[[Session], Any]
"""Something to do in the writer's thread."""
