"""Unique indexes: a table of the keys that documents hold, several for one that has arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from aats_core.errors import DuplicateKey
from aats_core.storage.collection import indexed_values
from aats_core.store import Document
from aats_store_postgres.catalog import Collection
from aats_store_postgres.codec import decode
from aats_store_postgres.identity import index_key
from aats_store_postgres.session import Session


async def claim(session: Session, collection: Collection, rows: Sequence[tuple[str, Document]]) -> None:
    """Hold the keys of documents that were written, instead of those they had; `DuplicateKey` where one is taken."""
    if not collection.unique:
        return
    claims = [
        (number, key, owner)
        for owner, document in rows
        for number, index in collection.unique
        for key in dict.fromkeys(map(index_key, indexed_values(document, index)))
    ]
    table = collection.unique_table
    await session.fetch(f"DELETE FROM {table} WHERE owner = ANY($1::text[])", [owner for owner, _ in rows])
    try:
        await session.fetch(
            f"INSERT INTO {table} SELECT * FROM unnest($1::int[], $2::bytea[], $3::text[])", *_columns(claims)
        )
    except asyncpg.UniqueViolationError as error:
        raise DuplicateKey(f"{collection.name}: another document has the same {_fields(collection, error)}") from error


def _columns(claims: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*claims, strict=True)] or [[], [], []]


def _fields(collection: Collection, error: asyncpg.UniqueViolationError) -> str:
    for number, index in collection.unique:
        if f"=({number}," in (error.detail or ""):
            return ", ".join(index.fields)
    return " or ".join(", ".join(index.fields) for _, index in collection.unique)


async def rebuild(session: Session, collection: Collection) -> None:
    """Hold the keys of all documents, for an index that has just become unique or ceased to be."""
    table = collection.unique_table
    await session.run(
        f'CREATE TABLE IF NOT EXISTS {table} (number integer, key bytea, owner text COLLATE "C" NOT NULL'
        f" REFERENCES {collection.table} ON DELETE CASCADE, PRIMARY KEY (number, key));"
        f"CREATE INDEX IF NOT EXISTS unique_{collection.id}_owner ON {table} (owner);"
        f"TRUNCATE {table}"
    )
    rows = await session.fetch(f"SELECT id, body FROM {collection.table}")
    await claim(session, collection, [(row[0], decode(row[1])) for row in rows])
