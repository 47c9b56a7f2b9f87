"""Makes the indexes of a collection as `ensure` describes them."""

from __future__ import annotations

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query.filters import Path
from aats_core.storage.collection import check_schema, extended
from aats_core.store import Schema
from aats_store_postgres import unique
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.expressions import is_expressible, target_at
from aats_store_postgres.layout import locking
from aats_store_postgres.session import Session

_MOST_FIELDS = 16
"""Fields of one index: each takes two of the 32 columns that PostgreSQL allows."""


def check(name: str, schema: Schema) -> None:
    """Raise `InvalidQuery` where a collection cannot have such a schema."""
    check_schema(name, schema, _flaw)
    for index in schema.indexes:
        if len(index.fields) > _MOST_FIELDS:
            raise InvalidQuery(
                f"{name}: the index over {', '.join(index.fields)}: an index takes 1 to {_MOST_FIELDS} fields"
            )


def _flaw(path: Path) -> str:
    return "" if is_expressible(path) else "its name holds half of a surrogate pair"


async def ensure(session: Session, catalog: Catalog, name: str, schema: Schema) -> None:
    """Add what a collection lacks of a schema; indexes that it does not name stay.

    An index over the same fields is replaced where it differs. Existing documents are not held to a new JSON Schema
    before they are written again. Raises `DuplicateKey` where documents share a key of a new unique index.
    The session has to be one that nobody uses afterwards: its statements may take any time.
    """
    await session.run("SET statement_timeout = 0; BEGIN;" + locking(catalog.space))
    old = await catalog.find(session, name)
    assert old is not None, "the collection has been made before"
    merged = extended(old.schema, schema)
    if merged != old.schema:
        new = await catalog.replace(session, msgspec.structs.replace(old, schema=merged))
        await make(session, old, new)
    await session.run("COMMIT")
    await catalog.find(session, name)


async def make(session: Session, old: Collection, new: Collection) -> None:
    """Make the indexes that a collection had not before."""
    await _make_ordered(session, old, new)
    await _make_text(session, old, new)
    if new.unique != old.unique:
        await unique.rebuild(session, new)


async def _make_ordered(session: Session, old: Collection, new: Collection) -> None:
    """Make B-trees of the key and number of each field, and over the arrays at the first an inverted index."""
    for number, index in enumerate(new.schema.indexes):
        if index.text or number < len(old.schema.indexes):
            continue
        columns = [
            f"{expression} {'DESC' if direction < 0 else 'ASC'}"
            for path, direction in index.fields.items()
            for expression in target_at(tuple(path.split("."))).order[:2]
        ]
        await session.run(f"CREATE INDEX ix{new.id}_{number} ON {new.table} ({', '.join(columns)})")
        first = target_at(tuple(next(iter(index.fields)).split(".")))
        await session.run(
            f"CREATE INDEX ix{new.id}_{number}_array ON {new.table} USING gin ({first.json} jsonb_path_ops)"
            f" WHERE {first.holds_array}"
        )


async def _make_text(session: Session, old: Collection, new: Collection) -> None:
    """Make the inverted index over words; its fields may have changed."""
    if new.words == old.words or new.words is None:
        return
    await session.run(f"DROP INDEX IF EXISTS {new.space}.ix{new.id}_text")
    await session.run(f"CREATE INDEX ix{new.id}_text ON {new.table} USING gin ({new.words})")
