"""Deletes what has expired, from time to time."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from aats_core.clock import Clock
from aats_core.errors import StoreError
from aats_core.query.values import normal
from aats_store_postgres import changes, indexes, keyvalue
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.pool import Pool
from aats_store_postgres.queries import Queries
from aats_store_postgres.servertime import ServerTime
from aats_store_postgres.session import Session

log = logging.getLogger("aats.store.postgres")


class Expiry:
    """Sweeps through documents under an index that expires, and through keys and limits."""

    def __init__(self, pool: Pool, catalog: Catalog, clock: Clock, time: ServerTime, interval: float) -> None:
        self._pool = pool
        self._catalog = catalog
        self._clock = clock
        self._time = time
        self._interval = interval
        self._queries = Queries()

    async def run(self) -> None:
        """Sweep for as long as the store is open."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self._pool.run(self._sweep, repeatable=True)
            except StoreError as error:
                log.warning("what has expired could not be deleted, trying again: %s", error)

    async def _sweep(self, session: Session) -> None:
        await keyvalue.sweep(session, self._catalog.space, self._time.now())
        await self._catalog.load(session)
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        for collection in self._catalog.all():
            for field, seconds in indexes.expiries(collection):
                await self._delete(session, collection, field, normal(now - timedelta(seconds=seconds)))

    async def _delete(self, session: Session, collection: Collection, field: str, before: datetime) -> None:
        await session.run("BEGIN")
        await changes.delete(session, collection, self._queries.query({field: {"$lte": before}}))
        await session.run("COMMIT")
