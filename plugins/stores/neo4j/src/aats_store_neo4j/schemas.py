"""Gives a collection what it lacks of a schema: indexes of the server, and what documents hold in those of ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aats_core.errors import Conflict, DuplicateKey
from aats_core.query.filters import And
from aats_core.storage.collection import extended
from aats_core.storage.evaluated import Change, Commit
from aats_core.store import Index, Schema
from aats_store_neo4j import commits
from aats_store_neo4j.catalog import Catalog, Collection
from aats_store_neo4j.native import MANY, property_name

if TYPE_CHECKING:
    from aats_store_neo4j.database import Documents

_LONGEST = 3600.0
"""Seconds that making the indexes of a large collection may take."""

_ATTEMPTS = 20
_PAUSE = 0.05


async def ensure(database: Documents, catalog: Catalog, name: str, wanted: Schema) -> None:
    """Make what a collection lacks of a schema.

    Its new generation is there first, so that no commit that began later writes by the old one; then all documents
    are written again, where the schema changes what they hold. Where that fails the old schema comes back.
    """
    for _ in range(_ATTEMPTS):
        old = await catalog.find(name, fresh=True)
        schema = extended(old.schema, wanted)
        if schema == old.schema and old.generation:
            return
        new = await catalog.replace(old, schema)
        if new is not None:
            break
    else:
        raise Conflict(f"{name}: others keep changing its schema; try again")
    for statement in _indexes(new):
        await database.sessions.alter(statement, timeout=_LONGEST)
    if _held(new) != _held(old):
        await database.sessions.wait_for_writers()
        try:
            await _write_again(database, new)
        except DuplicateKey:
            await catalog.replace(new, old.schema)
            raise


def _held(collection: Collection) -> tuple[object, ...]:
    """Return what decides over what is written beside the properties of a document."""
    return ([(number, index.fields) for number, index in collection.unique], collection.text_paths)


async def _write_again(database: Documents, collection: Collection) -> None:
    async for batch in database.candidates(collection, And(())):
        rest = dict(batch)
        while rest:
            changes = [Change(key, body, body) for key, body in rest.items()]
            known = {collection.name: collection}
            if await commits.apply(database.sessions, Commit(known, {collection.name: changes}, {}, {})):
                break
            keys = list(rest)
            found = await database.fetch(collection.name, keys)
            rest = {key: body for key, body in zip(keys, found, strict=True) if body is not None}
            await asyncio.sleep(_PAUSE)


def _indexes(collection: Collection) -> list[str]:
    """Return the statements for the server's own indexes over the properties of indexed fields."""
    made: dict[tuple[str, ...], None] = {}
    for index in collection.schema.indexes:
        for properties in () if index.text else _properties(index):
            made[properties] = None
    return [
        f"CREATE INDEX IF NOT EXISTS FOR (d:{collection.label}) ON ({', '.join(f'd.`{name}`' for name in properties)})"
        for properties in made
    ]


def _properties(index: Index) -> list[tuple[str, ...]]:
    names = [property_name(tuple(field.split("."))) for field in index.fields]
    known = [name for name in names if name is not None]
    if not known or names[0] is None:
        return []
    together = [tuple(known)] if len(known) > 1 and len(known) == len(names) else []
    return [(known[0],), (MANY + known[0],), *together]
