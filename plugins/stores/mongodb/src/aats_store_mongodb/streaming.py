"""Results too large to hold, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pymongo
from bson import decode_all

from aats_core.errors import StoreUnavailable
from aats_core.store import Document
from aats_store_mongodb.database import Database
from aats_store_mongodb.wire import CODEC, restored

_BATCH = 500
"""Documents that the server sends at once."""
_LONGEST = 24 * 3600.0
"""Seconds that the server may work on one stream; the driver would give all batches together the time of one call."""


async def stream(
    database: Database, name: str, wanted: Mapping[str, Any], options: Mapping[str, Any]
) -> AsyncGenerator[Document, None]:
    """Yield the documents that match.

    Where there is a filter or an order they come from one snapshot: changes could move a document along an index, so
    that it came twice or not at all.
    """
    source, first = database.collection(name), True
    command = {"find": source.name, "filter": wanted}
    async with _snapshot(database) if wanted or "sort" in options else nullcontext() as session:
        cursor = source.find_raw_batches(wanted, session=session, batch_size=_BATCH, **options)
        try:
            while True:
                with database.call(name, command):
                    batch = await _fetch(database, name, cursor, first=first)
                if batch is None:
                    return
                first = False
                for document in restored(decode_all(batch, CODEC)):
                    yield document
        finally:
            await cursor.close()


@asynccontextmanager
async def _snapshot(database: Database) -> AsyncIterator[Any]:
    session = await database.driver.start_session(snapshot=True)
    try:
        yield session
    finally:
        await session.end_session()


async def _fetch(database: Database, name: str, cursor: Any, *, first: bool) -> bytes | None:
    """Return the next batch; None after the last one."""
    try:
        with pymongo.timeout(_LONGEST) if first else nullcontext():
            async with asyncio.timeout(database.timeout):
                batch: bytes | None = await anext(cursor, None)
                return batch
    except TimeoutError as error:
        raise StoreUnavailable(f"{name}: no answer within {database.timeout:g} seconds") from error
