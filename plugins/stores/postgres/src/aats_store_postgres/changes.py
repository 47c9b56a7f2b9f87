"""What changes documents, within whatever transaction the session has open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg
import msgspec

from aats_core.errors import Conflict, DuplicateKey, InvalidDocument
from aats_core.query import is_modified, updated, upserted
from aats_core.storage.json_schema import validate
from aats_core.storage.operations import Updating, with_id
from aats_core.store import Document, UpdateResult
from aats_store_postgres import unique
from aats_store_postgres.catalog import Collection
from aats_store_postgres.codec import decode, encode
from aats_store_postgres.identity import new_key
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Session

REPLACE = " ON CONFLICT (id) DO UPDATE SET body = excluded.body"


MOST_CHARACTERS = 2**28 - 1
"""How long the stored form of a document may be."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A document on its way: its key and its stored form."""

    key: str
    body: str


def row_of(document: Document) -> Row:
    """Return a document as it is stored; raises `InvalidDocument` where it cannot be."""
    return Row(new_key(document["_id"]), body_of(document))


def body_of(document: Document) -> str:
    """Return the stored form of a document; raises `InvalidDocument` where it has none that PostgreSQL can hold."""
    body = encode(document)
    if len(body) > MOST_CHARACTERS:
        raise InvalidDocument(
            f"document {document['_id']!r}: {len(body)} characters of JSON are larger than PostgreSQL can hold"
        )
    return body


def columns(rows: Iterable[Row]) -> tuple[list[str], list[str]]:
    """Return the keys and the stored forms of rows."""
    keys, bodies = [], []
    for row in rows:
        keys.append(row.key)
        bodies.append(row.body)
    return keys, bodies


async def put(session: Session, collection: Collection, rows: Sequence[Row]) -> None:
    """Write documents, whether or not there are any with their ids; of several with one id the last remains."""
    last = {row.key: row for row in rows}
    await _write(session, collection, list(last.values()), REPLACE)


async def insert(session: Session, collection: Collection, rows: Sequence[Row]) -> None:
    """Write new documents; raises `DuplicateKey`."""
    try:
        await _write(session, collection, rows, "")
    except asyncpg.UniqueViolationError as error:
        raise duplicate(collection, rows, error) from error


async def copy(session: Session, collection: Collection, documents: Sequence[Document]) -> None:
    """Write many new documents into a collection that does not check them; raises `DuplicateKey`.

    The server works on the first of them while the next are encoded.
    """
    try:
        await session.connection.copy_records_to_table(
            collection.bare_table,
            schema_name=collection.space,
            columns=("id", "body"),
            records=((new_key(document["_id"]), body_of(document)) for document in documents),
        )
    except asyncpg.UniqueViolationError as error:
        raise duplicate(collection, map(row_of, documents), error) from error


def duplicate(collection: Collection, rows: Iterable[Row], error: asyncpg.UniqueViolationError) -> DuplicateKey:
    """Return the error that names the `_id` that exists already."""
    detail = error.detail or ""
    which = next((repr(decode(row.body)["_id"]) for row in rows if f"=({row.key})" in detail), "one of these")
    return DuplicateKey(f"{collection.name}: there is a document with the _id {which} already")


async def _write(session: Session, collection: Collection, rows: Sequence[Row], tail: str) -> None:
    documents = []
    if collection.is_checked:
        documents = [(row.key, decode(row.body)) for row in rows]
        for _, document in documents:
            validate(collection.name, collection.schema.json_schema, document)
    sql = f"INSERT INTO {collection.table} (id, body) SELECT * FROM unnest($1::text[], $2::text[]){tail}"
    await session.fetch(sql, *columns(rows))
    if documents:
        await unique.claim(session, collection, documents)


async def update(session: Session, collection: Collection, updating: Updating[Query]) -> UpdateResult:
    """Change the documents that match, or make one that does."""
    found = await _locked(session, collection, updating.query, updating.limit)
    changed = []
    for key, old in found:
        new = updated(old, updating.changes, updating.now)
        if is_modified(old, new, updating.changes):
            changed.append(Row(key, encode(new)))
    if changed:
        await put(session, collection, changed)
    if found or updating.upsert is None:
        return UpdateResult(len(found), len(changed))
    made = with_id(upserted(updating.upsert, updating.changes, updating.now))
    await insert(session, collection, [row_of(made)])
    return UpdateResult(0, 0, made["_id"])


async def _locked(
    session: Session, collection: Collection, query: Query, limit: int | None
) -> list[tuple[str, Document]]:
    """Return keys and documents that match, which nobody else can change until the end of the transaction."""
    tail = f" LIMIT {int(limit)}" if limit is not None and query.exact else " ORDER BY id"
    sql = f"SELECT id, body FROM {collection.table} WHERE {query.where(collection)}{tail} FOR UPDATE"
    found = [(row[0], decode(row[1])) for row in await session.fetch(sql, *query.parameters)]
    if query.exact:
        return found
    matches = query.matcher()
    return [pair for pair in found if matches(pair[1])][:limit]


async def delete(session: Session, collection: Collection, query: Query) -> int:
    """Delete the documents that match and return how many there were."""
    where, parameters = query.where(collection), query.parameters
    if not query.exact:
        parameters = ([key for key, _ in await _locked(session, collection, query, None)],)
        where = "id = ANY($1::text[])"
    sql = f"WITH gone AS (DELETE FROM {collection.table} WHERE {where} RETURNING 1) SELECT count(*) FROM gone"
    number: int = await session.value(sql, *parameters)
    return number


async def require(session: Session, collection: Collection | None, query: Query, name: str) -> None:
    """Raise `Conflict` where no document matches; one that does cannot change before the transaction ends."""
    if collection is not None and (await _fence(session, collection, query)):
        return
    raise unfulfilled(name)


def unfulfilled(name: str) -> Conflict:
    """Return the error for a requirement that no document fulfils."""
    return Conflict(f"{name}: no document is as the write requires it")


async def _fence(session: Session, collection: Collection, query: Query) -> bool:
    if not query.exact:
        return bool(await _locked(session, collection, query, None))
    sql = f"SELECT 1 FROM {collection.table} WHERE {query.where(collection)} LIMIT 1 FOR UPDATE"
    return bool(await session.fetch(sql, *query.parameters))
