"""Makes the indexes of a collection as `ensure` describes them."""

from __future__ import annotations

import apsw

from aats_core.query.filters import Path
from aats_core.storage.collection import check_schema, extended
from aats_core.store import Schema
from aats_store_sqlite.catalog import Catalog, Collection
from aats_store_sqlite.keys import is_expressible, json_path, key_at, type_at, value_at
from aats_store_sqlite.table import Table


def check(name: str, schema: Schema) -> None:
    """Raise `InvalidQuery` where a collection cannot have such a schema."""
    check_schema(name, schema, _flaw)


def _flaw(path: Path) -> str:
    return "" if is_expressible(path) else "its name holds a quote or a control character"


def ensure(connection: apsw.Connection, catalog: Catalog, name: str, schema: Schema) -> None:
    """Add what a collection lacks of a schema; indexes that it does not name stay.

    An index over the same fields is replaced where it differs. Existing documents are not held to a new JSON Schema
    before they are written again. Raises `DuplicateKey` where documents share a key of a new unique index.
    """
    old = catalog.get_or_make(connection, name)
    merged = extended(old.schema, schema)
    if merged == old.schema:
        return
    new = Collection(old.id, name, merged)
    catalog.replace(connection, new)
    _make_ordered(connection, old, new)
    _make_unique(connection, old, new)
    _make_text(connection, old, new)


def _make_ordered(connection: apsw.Connection, old: Collection, new: Collection) -> None:
    for number, index in enumerate(new.schema.indexes):
        if index.text or number < len(old.schema.indexes):
            continue
        keys = ", ".join(
            f"{key_at(tuple(path.split('.')))} {'DESC' if direction < 0 else 'ASC'}"
            for path, direction in index.fields.items()
        )
        connection.execute(f"CREATE INDEX {new.table}_{number} ON {new.table} ({keys})")


def _make_unique(connection: apsw.Connection, old: Collection, new: Collection) -> None:
    if new.unique == old.unique:
        return
    table = new.unique_table
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table}"
        " (number INTEGER, key TEXT, owner INTEGER, PRIMARY KEY (number, key)) WITHOUT ROWID"
    )
    connection.execute(f"CREATE INDEX IF NOT EXISTS {table}_owner ON {table} (owner)")
    connection.execute(
        f"CREATE TRIGGER IF NOT EXISTS {table}_delete AFTER DELETE ON {new.table} BEGIN"
        f" DELETE FROM {table} WHERE owner = OLD.rowid; END"
    )
    connection.execute(f"DELETE FROM {table}")
    Table(connection, new).claim_all()


def _make_text(connection: apsw.Connection, old: Collection, new: Collection) -> None:
    """Make the full-text index, over the strings at its paths and in the arrays there, and keep it by triggers."""
    before, after = old.text_paths, new.text_paths
    if before == after:
        return
    table = new.text_table
    if before:
        for event in ("insert", "update", "delete"):
            connection.execute(f"DROP TRIGGER {table}_{event}")
        connection.execute(f"DROP TABLE {table}")
    columns = ", ".join(f"c{number}" for number in range(len(after)))
    connection.execute(
        f"CREATE VIRTUAL TABLE {table} USING fts5({columns}, content='', contentless_delete=1,"
        " tokenize='unicode61 remove_diacritics 2')"
    )

    def fill(row: str) -> str:
        texts = ", ".join(_text_at(path, f"{row}doc") for path in after)
        return f"INSERT INTO {table} (rowid, {columns}) SELECT {row}rowid, {texts}"

    remove = f"DELETE FROM {table} WHERE rowid = OLD.rowid"
    for event, sql in {
        "insert": fill("NEW."),
        "update": f"{remove}; {fill('NEW.')}",
        "delete": remove,
    }.items():
        connection.execute(f"CREATE TRIGGER {table}_{event} AFTER {event.upper()} ON {new.table} BEGIN {sql}; END")
    connection.execute(f"{fill('')} FROM {new.table}")


def _text_at(path: tuple[str, ...], document: str) -> str:
    """Return the expression of the text at a path, NULL where there is none."""
    elements = f"json_each({document}, {json_path(path)})"
    return (
        f"CASE {type_at(path, document)} WHEN 'text' THEN {value_at(path, document)}"
        f" WHEN 'array' THEN (SELECT group_concat(value, ' ') FROM {elements} WHERE type = 'text') END"
    )
