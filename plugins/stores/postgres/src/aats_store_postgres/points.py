"""Reads of single documents by `_id`: while all connections are busy, those of many callers share a round trip."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aats_core.batching import Batcher
from aats_core.store import Document
from aats_store_postgres.catalog import Catalog
from aats_store_postgres.codec import decode
from aats_store_postgres.pool import Pool
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Session

_LANES = 2
_BY_ID = "id = $1::text"


class _Point(msgspec.Struct, frozen=True):
    """A document that is asked for."""

    collection: str
    key: str


class Points:
    """Answers reads by `_id`."""

    def __init__(self, pool: Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog
        self._batches: Batcher[_Point, str | None] = Batcher(self._fetch, lanes=_LANES)

    def takes(self, query: Query) -> bool:
        """Tell whether a query asks for one `_id`, while there is nothing better than to ask together with others."""
        return self._pool.is_busy and query.sql == _BY_ID

    async def find(self, collection: str, query: Query) -> list[Document]:
        """Return the document, if there is one."""
        body = await self._batches.do(_Point(collection, query.parameters[0]))
        return [] if body is None else [decode(body)]

    async def drain(self) -> None:
        """Wait until everyone is answered."""
        await self._batches.drain()

    async def _fetch(self, points: list[_Point]) -> Sequence[str | None]:
        async def work(session: Session) -> Sequence[str | None]:
            found: dict[_Point, str] = {}
            for name in {point.collection for point in points}:
                known = self._catalog.get(name) or await self._catalog.find(session, name)
                if known is not None:
                    keys = [point.key for point in points if point.collection == name]
                    sql = f"SELECT id, body FROM {known.table} WHERE id = ANY($1::text[])"
                    found.update((_Point(name, row[0]), row[1]) for row in await session.fetch(sql, keys))
            return [found.get(point) for point in points]

        return await self._pool.run(work, repeatable=True)
