"""Rows of a collection: how documents are written into its table, and checked where the collection asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from aats_core.errors import DuplicateKey
from aats_core.storage.collection import indexed_values
from aats_core.storage.json_schema import validate
from aats_core.store import Document
from aats_store_sqlite.catalog import Collection
from aats_store_sqlite.codec import decode
from aats_store_sqlite.identity import index_key

_ROWS = (64, 8, 1)
"""How many rows one statement writes: for each statement the thread has to wait for the interpreter's lock."""

_REPLACE = " ON CONFLICT (id) DO UPDATE SET doc = excluded.doc"


class Table:
    """The rows of a collection. `rows` are keys and stored forms in turn."""

    def __init__(self, connection: apsw.Connection, collection: Collection) -> None:
        self._connection = connection
        self._collection = collection

    def put(self, rows: Sequence[Any]) -> None:
        """Write documents, whether or not there are any with their ids."""
        if self._collection.is_checked:
            self._write_checked(rows, _REPLACE)
        else:
            self._write(rows, _REPLACE)

    def insert(self, rows: Sequence[Any]) -> None:
        """Write new documents; raises `DuplicateKey`, and then some of them may have been written."""
        try:
            if self._collection.is_checked:
                self._write_checked(rows, "")
            else:
                self._write(rows, "")
        except apsw.ConstraintError as error:
            raise DuplicateKey(f"{self._collection.name}: {self._which_exists(rows)}") from error

    def _write(self, rows: Sequence[Any], tail: str) -> None:
        at, end = 0, len(rows)
        for count in _ROWS:
            step = 2 * count
            if end - at < step:
                continue
            sql = f"INSERT INTO {self._collection.table} (id, doc) VALUES {', '.join(['(?, ?)'] * count)}{tail}"
            while end - at >= step:
                self._connection.execute(sql, rows[at : at + step])
                at += step

    def _write_checked(self, rows: Sequence[Any], tail: str) -> None:
        sql = f"INSERT INTO {self._collection.table} (id, doc) VALUES (?, ?){tail} RETURNING rowid"
        for key, text in zip(rows[::2], rows[1::2], strict=True):
            document = decode(text)
            validate(self._collection.name, self._collection.schema.json_schema, document)
            row: int = self._connection.execute(sql, (key, text)).get
            if self._collection.unique:
                self._claim(row, document)

    def _claim(self, row: int, document: Document) -> None:
        """Hold the keys of a document in the unique indexes; raises `DuplicateKey` where another holds one of them."""
        table = self._collection.unique_table
        self._connection.execute(f"DELETE FROM {table} WHERE owner = ?", (row,))
        for number, index in self._collection.unique:
            for key in dict.fromkeys(map(index_key, indexed_values(document, index))):
                try:
                    self._connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", (number, key, row))
                except apsw.ConstraintError as error:
                    fields = ", ".join(index.fields)
                    raise DuplicateKey(
                        f"{self._collection.name}: another document than {document['_id']!r} has the same {fields}"
                    ) from error

    def claim_all(self) -> None:
        """Hold the keys of all documents, for an index that has just become unique."""
        rows: list[Any] = self._connection.execute(f"SELECT rowid, doc FROM {self._collection.table}").fetchall()
        for row, text in rows:
            self._claim(row, decode(text))

    def _which_exists(self, rows: Sequence[Any]) -> str:
        seen = set()
        for key, text in zip(rows[::2], rows[1::2], strict=True):
            sql = f"SELECT EXISTS (SELECT 1 FROM {self._collection.table} WHERE id = ?)"
            if key in seen or self._connection.execute(sql, (key,)).get:
                return f"there is a document with the _id {decode(text)['_id']!r} already"
            seen.add(key)
        return "there is a document with one of these _ids already"
