"""Deletes what has expired."""

from __future__ import annotations

from datetime import timedelta

from aats_store_sqlite import keyvalue
from aats_store_sqlite.queries import make_queries
from aats_store_sqlite.session import Session
from aats_store_sqlite.writer import Writer


class Expiry:
    """Sweeps through documents under an index that expires, and through keys and limits."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._queries = make_queries()

    async def sweep(self) -> None:
        """Delete everything whose time is over."""
        await self._writer.submit(self._sweep)

    def _sweep(self, session: Session) -> None:
        now = session.now()
        keyvalue.sweep(session.connection, now.timestamp())
        for collection in session.catalog:
            for field, seconds in collection.expiries:
                session.delete(
                    collection.name, self._queries.query({field: {"$lte": now - timedelta(seconds=seconds)}})
                )
