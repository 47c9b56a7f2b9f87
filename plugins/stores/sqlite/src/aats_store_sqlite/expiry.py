"""Deletes what has expired, from time to time."""

from __future__ import annotations

import logging
from datetime import timedelta

from aats_core.clock import Clock
from aats_core.errors import StoreError
from aats_store_sqlite import indexes, keyvalue
from aats_store_sqlite.queries import Queries
from aats_store_sqlite.session import Session
from aats_store_sqlite.writer import Writer

log = logging.getLogger("aats.store.sqlite")


class Expiry:
    """Sweeps through documents under an index that expires, and through keys and limits."""

    def __init__(self, writer: Writer, clock: Clock, interval: float) -> None:
        self._writer = writer
        self._clock = clock
        self._interval = interval
        self._queries = Queries()

    async def run(self) -> None:
        """Sweep for as long as the store is open."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self._writer.submit(self._sweep)
            except StoreError as error:
                log.warning("what has expired could not be deleted, trying again: %s", error)

    def _sweep(self, session: Session) -> None:
        now = session.now()
        keyvalue.sweep(session.connection, now.timestamp())
        for collection in session.catalog:
            for field, seconds in indexes.expiries(collection):
                session.delete(
                    collection.name, self._queries.query({field: {"$lte": now - timedelta(seconds=seconds)}})
                )
