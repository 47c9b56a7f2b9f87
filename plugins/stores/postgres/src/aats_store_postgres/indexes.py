"""Makes the indexes of a collection as `ensure` describes them."""

from __future__ import annotations

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query.paths import parse_path
from aats_core.store import Index, Schema
from aats_store_postgres import unique
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.expressions import ARRAY, is_expressible, target_at
from aats_store_postgres.layout import locking
from aats_store_postgres.session import Session
from aats_store_postgres.validation import check_schema

_MOST_FIELDS = 10
"""Fields of one index: each takes three of the 32 columns that PostgreSQL allows."""


def check(name: str, schema: Schema) -> None:
    """Raise `InvalidQuery` where a schema cannot be had."""
    for index in schema.indexes:
        _check_index(name, index)
    if schema.json_schema is not None:
        check_schema(schema.json_schema, name)


def _check_index(name: str, index: Index) -> None:
    where = f"{name}: the index over {', '.join(index.fields)}"
    if not 1 <= len(index.fields) <= _MOST_FIELDS:
        raise InvalidQuery(f"{where}: an index takes 1 to {_MOST_FIELDS} fields")
    for field, direction in index.fields.items():
        if not is_expressible(parse_path(field, where)):
            raise InvalidQuery(f"{where}: {field!r} cannot be indexed, its name holds half of a surrogate pair")
        if direction not in (1, -1):
            raise InvalidQuery(f"{where}: {field} takes 1 (ascending) or -1 (descending), not {direction!r}")
    if index.expire_after is not None and (len(index.fields) > 1 or index.expire_after < 0):
        raise InvalidQuery(f"{where}: expire_after takes seconds of at least 0, and one field, which holds a date")
    if index.text and (index.unique or index.expire_after is not None):
        raise InvalidQuery(f"{where}: a text index can be neither unique nor expire")


async def ensure(session: Session, catalog: Catalog, name: str, schema: Schema) -> None:
    """Add what a collection lacks of a schema; indexes that it does not name stay.

    An index over the same fields is replaced where it differs. Existing documents are not held to a new JSON Schema
    before they are written again. Raises `DuplicateKey` where documents share a key of a new unique index.
    The session has to be one that nobody uses afterwards: its statements may take any time.
    """
    await session.run("SET statement_timeout = 0; BEGIN;" + locking(catalog.space))
    old = await catalog.find(session, name)
    assert old is not None, "the collection has been made before"
    merged = _merged(old.schema, schema)
    if merged != old.schema:
        new = await catalog.replace(session, msgspec.structs.replace(old, schema=merged))
        await _make_ordered(session, old, new)
        await _make_text(session, old, new)
        if new.unique != old.unique:
            await unique.rebuild(session, new)
    await session.run("COMMIT")
    await catalog.find(session, name)


def _merged(old: Schema, wanted: Schema) -> Schema:
    new = {_identity(index): index for index in wanted.indexes}
    kept = tuple(new.pop(_identity(index), index) for index in old.indexes)
    return Schema(kept + tuple(new.values()), old.json_schema if wanted.json_schema is None else wanted.json_schema)


def _identity(index: Index) -> tuple[bool, tuple[tuple[str, int], ...]]:
    return (True, ()) if index.text else (False, tuple(index.fields.items()))


async def _make_ordered(session: Session, old: Collection, new: Collection) -> None:
    """Make B-trees of the class, number and text of each field, and over the arrays of the first an inverted index."""
    for number, index in enumerate(new.schema.indexes):
        if index.text or number < len(old.schema.indexes):
            continue
        columns = [
            f"{expression} {'DESC' if direction < 0 else 'ASC'}"
            for path, direction in index.fields.items()
            for expression in target_at(tuple(path.split("."))).order[:3]
        ]
        await session.run(f"CREATE INDEX ix{new.id}_{number} ON {new.table} ({', '.join(columns)})")
        first = target_at(tuple(next(iter(index.fields)).split(".")))
        await session.run(
            f"CREATE INDEX ix{new.id}_{number}_array ON {new.table} USING gin ({first.json} jsonb_path_ops)"
            f" WHERE {first.kind} = {ARRAY}"
        )


async def _make_text(session: Session, old: Collection, new: Collection) -> None:
    """Make the inverted index over words; its fields may have changed."""
    if new.words == old.words or new.words is None:
        return
    await session.run(f"DROP INDEX IF EXISTS {new.space}.ix{new.id}_text")
    await session.run(f"CREATE INDEX ix{new.id}_text ON {new.table} USING gin ({new.words})")


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
