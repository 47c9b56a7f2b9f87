"""Makes the indexes of a collection as `ensure` describes them."""

from __future__ import annotations

import apsw

from aats_core.errors import InvalidQuery
from aats_core.query.paths import parse_path
from aats_core.store import Index, Schema
from aats_store_sqlite.catalog import Catalog, Collection
from aats_store_sqlite.keys import is_expressible, json_path, key_at, type_at, value_at
from aats_store_sqlite.table import Table
from aats_store_sqlite.validation import check_schema


def check(name: str, schema: Schema) -> None:
    """Raise `InvalidQuery` where a schema cannot be had."""
    for index in schema.indexes:
        _check_index(name, index)
    if schema.json_schema is not None:
        check_schema(schema.json_schema, name)


def _check_index(name: str, index: Index) -> None:
    fields = ", ".join(index.fields)
    where = f"{name}: the index over {fields}"
    if not index.fields:
        raise InvalidQuery(f"{name}: an index needs a field")
    for field, direction in index.fields.items():
        if not is_expressible(parse_path(field, where)):
            raise InvalidQuery(f"{where}: {field!r} cannot be indexed, its name holds a quote or a control character")
        if direction not in (1, -1):
            raise InvalidQuery(f"{where}: {field} takes 1 (ascending) or -1 (descending), not {direction!r}")
    if index.expire_after is not None and (len(index.fields) > 1 or index.expire_after < 0):
        raise InvalidQuery(f"{where}: expire_after takes seconds of at least 0, and one field, which holds a date")
    if index.text and (index.unique or index.expire_after is not None):
        raise InvalidQuery(f"{where}: a text index can be neither unique nor expire")


def ensure(connection: apsw.Connection, catalog: Catalog, name: str, schema: Schema) -> None:
    """Add what a collection lacks of a schema; indexes that it does not name stay.

    An index over the same fields is replaced where it differs. Existing documents are not held to a new JSON Schema
    before they are written again. Raises `DuplicateKey` where documents share a key of a new unique index.
    """
    old = catalog.get_or_make(connection, name)
    wanted = {_identity(index): index for index in schema.indexes}
    kept = tuple(wanted.pop(_identity(index), index) for index in old.schema.indexes)
    merged = Schema(
        kept + tuple(wanted.values()), old.schema.json_schema if schema.json_schema is None else schema.json_schema
    )
    if merged == old.schema:
        return
    new = Collection(old.id, name, merged)
    catalog.replace(connection, new)
    _make_ordered(connection, old, new)
    _make_unique(connection, old, new)
    _make_text(connection, old, new)


def _identity(index: Index) -> tuple[bool, tuple[tuple[str, int], ...]]:
    return (True, ()) if index.text else (False, tuple(index.fields.items()))


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
    before, after = _text_fields(old), _text_fields(new)
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


def _text_fields(collection: Collection) -> list[tuple[str, ...]]:
    return [tuple(path.split(".")) for index in collection.schema.indexes if index.text for path in index.fields]


def _text_at(path: tuple[str, ...], document: str) -> str:
    """Return the expression of the text at a path, NULL where there is none."""
    elements = f"json_each({document}, {json_path(path)})"
    return (
        f"CASE {type_at(path, document)} WHEN 'text' THEN {value_at(path, document)}"
        f" WHEN 'array' THEN (SELECT group_concat(value, ' ') FROM {elements} WHERE type = 'text') END"
    )


def expiries(collection: Collection) -> list[tuple[str, float]]:
    """Return the fields whose date documents are deleted after, and so many seconds later."""
    return [
        (next(iter(index.fields)), index.expire_after)
        for index in collection.schema.indexes
        if index.expire_after is not None
    ]


def has_own_index(collection: Collection, path: tuple[str, ...]) -> bool:
    """Tell whether an index begins with a path, so that its keys can be looked up."""
    first = ".".join(path)
    return any(not index.text and next(iter(index.fields)) == first for index in collection.schema.indexes)
