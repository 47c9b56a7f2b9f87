"""Where documents are read: a server, through its connections, and what is known of its collections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypeVar

import asyncpg

from aats_core.storage.queries import Order
from aats_core.store import Document
from aats_store_postgres import reading
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.failures import LOST, translate
from aats_store_postgres.operations import Read
from aats_store_postgres.pool import Pool
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Session

T = TypeVar("T")


class Source:
    """Reads from one server."""

    def __init__(self, pool: Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog

    async def read(self, name: str, read: Read[T]) -> T:
        """Return what is read of a collection, again and again where the connection is lost."""

        async def work(session: Session) -> T:
            return await read(session, await self._known(session, name))

        return await self._pool.run(work, repeatable=True)

    async def stream(self, name: str, query: Query, order: Order) -> AsyncGenerator[Document, None]:
        """Yield the documents that match as one snapshot has them; each batch may take as long as any call."""
        session = await self._pool.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            known = await self._known(session, name)
            async for document in reading.stream(session, known, query, order, self._pool.timeout):
                yield document
            await session.run("COMMIT")
        except (asyncpg.PostgresError, *LOST) as error:
            raise translate(error, self._pool.place) from error
        finally:
            self._pool.release(session)

    async def _known(self, session: Session, name: str) -> Collection | None:
        return self._catalog.get(name) or await self._catalog.find(session, name)
