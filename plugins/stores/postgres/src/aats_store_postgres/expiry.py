"""Deletes what has expired, and makes room for what comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aats_core.clock import Clock
from aats_core.query.values import normal
from aats_store_postgres import changes, keyvalue, partitions
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.pool import Pool
from aats_store_postgres.queries import make_queries
from aats_store_postgres.servertime import ServerTime
from aats_store_postgres.session import Session


class Expiry:
    """Sweeps through documents under an index that expires, and through keys and limits."""

    def __init__(self, pool: Pool, catalog: Catalog, clock: Clock, time: ServerTime) -> None:
        self._pool = pool
        self._catalog = catalog
        self._clock = clock
        self._time = time
        self._queries = make_queries()

    async def sweep(self) -> None:
        """Delete everything whose time is over."""
        await self._pool.run(self._sweep, repeatable=True)

    async def _sweep(self, session: Session) -> None:
        await keyvalue.sweep(session, self._catalog.space, self._time.now())
        await self._catalog.load(session)
        await partitions.extend(session, self._catalog, datetime.fromtimestamp(self._time.now(), UTC))
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        for collection in self._catalog.all():
            for field, seconds in collection.expiries:
                await self._delete(session, collection, field, normal(now - timedelta(seconds=seconds)))

    async def _delete(self, session: Session, collection: Collection, field: str, before: datetime) -> None:
        await session.run("BEGIN")
        await changes.delete(session, collection, self._queries.query({field: {"$lte": before}}))
        await session.run("COMMIT")
