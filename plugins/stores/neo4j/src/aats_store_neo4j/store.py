"""The Neo4j store: connects to the server, and offers records and graphs over it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from aats_core.clock import Clock
from aats_core.errors import AatsError
from aats_core.health import Health, HealthStatus
from aats_core.settings import TeamInfo
from aats_core.storage.expiry import sweep_regularly
from aats_core.store import Capability, Store
from aats_store_neo4j.catalog import Catalog
from aats_store_neo4j.database import Documents
from aats_store_neo4j.graph import Neo4jGraph
from aats_store_neo4j.layout import lay_out
from aats_store_neo4j.records import Neo4jRecords
from aats_store_neo4j.sessions import Sessions
from aats_store_neo4j.settings import Neo4jSettings

log = logging.getLogger("aats.store.neo4j")


class Neo4jStore(Store):
    """Keeps graphs and records in a Neo4j database; a write is durable once it returns."""

    Settings: ClassVar[type[Neo4jSettings]] = Neo4jSettings

    def __init__(self, settings: Neo4jSettings, info: TeamInfo, clock: Clock) -> None:
        self._settings = settings
        self._sessions = Sessions(settings)
        self._graph = Neo4jGraph(self._sessions, info.namespace)
        catalog = Catalog(self._sessions, info.namespace)
        self._records = Neo4jRecords(Documents(self._sessions, catalog), catalog, clock)
        self._clock = clock
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def capabilities(self) -> Sequence[Capability]:
        """Records and a graph."""
        return (self._records, self._graph)

    async def connect(self) -> None:
        """Connect, and make constraints and indexes where there are none."""
        await self._sessions.open()
        try:
            await lay_out(self._sessions)
            self._graph.has_apoc = self._settings.apoc and await self._sessions.has_procedure("apoc.neighbors.byhop")
        except BaseException:
            await self._sessions.close()
            raise
        interval = self._settings.expiry_interval
        self._sweeping = asyncio.create_task(sweep_regularly(self._records.sweep, self._clock, interval, log))

    async def close(self) -> None:
        """Finish what was begun and close the connections."""
        if self._sweeping is None:
            return
        sweeping, self._sweeping = self._sweeping, None
        sweeping.cancel()
        await asyncio.wait([sweeping])
        await self._records.drain()
        await self._graph.drain()
        await self._sessions.close()

    async def health(self) -> Health:
        """Say whether the server can be reached and written."""
        if self._sweeping is None:
            return Health(HealthStatus.DOWN, f"{self._sessions.place}: the store is not connected")
        try:
            await self._sessions.check_writable()
        except AatsError as error:
            return Health(HealthStatus.DOWN, str(error))
        return Health()

    @property
    def native(self) -> Any:
        """The `neo4j.AsyncDriver`."""
        return self._sessions.driver

    async def bookmarks(self) -> list[str]:
        """Return what stands for everything that this store wrote and read so far, for the `follow` of another one."""
        return await self._sessions.bookmarks()

    def follow(self, bookmarks: Iterable[str]) -> None:
        """Let all that this store reads from now on hold what the bookmarks of another one stand for."""
        self._sessions.follow(bookmarks)
