"""What only PostgreSQL can do with the tables that collections lie in."""

from __future__ import annotations

from datetime import UTC, datetime

from aats_core.storage.collection import check_name
from aats_core.store import Capability, RecordStore, Schema
from aats_store_postgres import columns, partitions
from aats_store_postgres.advice import advice
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.columns import TypedColumns
from aats_store_postgres.layout import locking
from aats_store_postgres.partitions import Every
from aats_store_postgres.pool import Pool
from aats_store_postgres.servertime import ServerTime
from aats_store_postgres.session import Session

_LONGEST = 3600.0
"""Seconds that changing a large table may take."""


class PostgresTables(Capability):
    """Gives collections typed columns and partitions, and says what care they need.

    What changes a table keeps its readers and writers waiting meanwhile.
    """

    def __init__(self, pool: Pool, records: RecordStore, catalog: Catalog, time: ServerTime) -> None:
        self._pool = pool
        self._records = records
        self._catalog = catalog
        self._time = time

    async def columns(self, collection: str) -> TypedColumns:
        """Keep a typed column for each scalar property of the collection's JSON Schema, and show them in a view.

        Call it again when the schema has changed. A value that is none of its column's type is null there. Dates are
        properties of `{"format": "date-time"}` without a type.
        """
        await self._made(collection)

        async def work(session: Session) -> TypedColumns:
            await session.run("SET statement_timeout = 0; BEGIN;" + locking(self._catalog.space))
            made = await columns.make(session, await self._known(session, collection), self._catalog.namespace)
            await session.run("COMMIT")
            return made

        return await self._pool.run_aside(work, timeout=_LONGEST)

    async def partition_by_hash(self, collection: str, count: int) -> None:
        """Divide a collection into so many tables by a hash of the `_id`."""
        await self._made(collection)
        space = self._catalog.namespace
        await self._pool.run_aside(
            lambda session: partitions.by_hash(session, self._catalog, space, collection, count), timeout=_LONGEST
        )

    async def partition_by_time(self, collection: str, every: str = "month") -> None:
        """Divide a collection into a table for each `day` or `month`, by `_id`s that begin with a time in ISO 8601.

        `2026-01-31T12:00:00Z-17` is one. The store makes those of the days or months that come; documents with other
        `_id`s lie in a table of their own.
        """
        way = Every(every)
        await self._made(collection)
        now = datetime.fromtimestamp(self._time.now(), UTC)
        await self._pool.run_aside(
            lambda session: partitions.by_time(session, self._catalog, self._catalog.namespace, collection, way, now),
            timeout=_LONGEST,
        )

    async def drop_before(self, collection: str, time: datetime) -> int:
        """Drop the partitions whose days or months ended before a time, at once; return how many these were."""
        check_name(collection)
        return await self._pool.run_aside(
            lambda session: partitions.drop_before(session, self._catalog, collection, time), timeout=_LONGEST
        )

    async def advice(self) -> list[str]:
        """Return what someone who looks after the database should do, by its statistics, most urgent first."""
        return await self._pool.run(lambda session: advice(session, self._catalog.space), repeatable=True)

    async def _made(self, collection: str) -> None:
        await self._records.ensure(collection, Schema())

    async def _known(self, session: Session, collection: str) -> Collection:
        found = await self._catalog.find(session, collection)
        assert found is not None, "it has been made before"
        return found
