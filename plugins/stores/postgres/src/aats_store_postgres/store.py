"""The PostgreSQL store: connects to the server, and offers records, keys and graphs over it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import asyncpg

from aats_core.clock import Clock
from aats_core.errors import AatsError, StoreUnavailable
from aats_core.health import Health, HealthStatus
from aats_core.settings import TeamInfo
from aats_core.storage.expiry import sweep_regularly
from aats_core.store import Capability, Store
from aats_store_postgres.catalog import Catalog
from aats_store_postgres.expiry import Expiry
from aats_store_postgres.graph import PostgresGraph
from aats_store_postgres.keyvalue import PostgresKeyValues
from aats_store_postgres.layout import lay_out
from aats_store_postgres.locks import PostgresLocks
from aats_store_postgres.notifications import Listener, PostgresNotifications
from aats_store_postgres.pool import Pool
from aats_store_postgres.records import PostgresRecords
from aats_store_postgres.replicas import PostgresReplicas
from aats_store_postgres.servertime import ServerTime
from aats_store_postgres.session import Session
from aats_store_postgres.settings import PostgresSettings
from aats_store_postgres.sources import Source
from aats_store_postgres.tables import PostgresTables

log = logging.getLogger("aats.store.postgres")

_OLDEST = 14
_NATIVE_CONNECTIONS = 5


class PostgresStore(Store):
    """Keeps records, keys and graphs in a PostgreSQL database; a write is durable once it returns.

    Writes that come at the same time share one transaction.
    """

    Settings: ClassVar[type[PostgresSettings]] = PostgresSettings

    def __init__(self, settings: PostgresSettings, info: TeamInfo, clock: Clock) -> None:
        space = settings.db_schema
        self._settings = settings
        self._clock = clock
        self._pool = Pool(settings)
        self._catalog = Catalog(space, info.namespace)
        self._pool.on_stale = self._catalog.forget
        self._time = ServerTime(clock)
        source = Source(self._pool, self._catalog)
        self._records = PostgresRecords(self._pool, self._catalog, source, clock, settings.transaction_timeout)
        self._replicas = PostgresReplicas(settings, info.namespace, source, clock)
        self._listener = Listener(self._pool)
        locks = PostgresLocks(self._pool, self._listener, clock, self._time, space, info.namespace)
        self._capabilities = (
            self._records,
            PostgresKeyValues(self._pool, locks, self._time, space, info.namespace),
            PostgresGraph(self._pool, space, info.namespace),
            PostgresNotifications(self._pool, self._listener),
            self._replicas,
            PostgresTables(self._pool, self._records, self._catalog, self._time),
        )
        self._expiry = Expiry(self._pool, self._catalog, clock, self._time)
        self._sweeping: asyncio.Task[None] | None = None
        self._native: Any = None

    @property
    def capabilities(self) -> Sequence[Capability]:
        """Records, key-values and a graph; and what only PostgreSQL can do."""
        return self._capabilities

    async def connect(self) -> None:
        """Connect, and make the schema and its tables where there are none.

        Raises `StateTooNew` where a newer version of AATS made them, and `StoreUnavailable` where the server cannot be
        used.
        """
        await self._pool.open()
        try:
            await self._pool.run_aside(self._prepare)
        except BaseException:
            await self._pool.close()
            raise
        self._native = await asyncpg.create_pool(**self._pool.address, min_size=0, max_size=_NATIVE_CONNECTIONS)
        self._replicas.open()
        self._sweeping = asyncio.create_task(
            sweep_regularly(self._expiry.sweep, self._clock, self._settings.expiry_interval, log)
        )

    async def _prepare(self, session: Session) -> None:
        version = session.connection.get_server_version()
        if version.major < _OLDEST:
            raise StoreUnavailable(f"{self._pool.place}: is PostgreSQL {version.major}; {_OLDEST} or newer is needed")
        await lay_out(session, self._settings.db_schema)
        await self._time.measure(session)
        await self._catalog.load(session)

    async def close(self) -> None:
        """Finish what was begun and close the connections."""
        if self._sweeping is None:
            return
        sweeping, self._sweeping = self._sweeping, None
        sweeping.cancel()
        await asyncio.wait([sweeping])
        await self._records.drain()
        await self._listener.close()
        await self._replicas.close()
        await self._pool.close()
        self._native.terminate()

    async def health(self) -> Health:
        """Say whether the server can be reached and written."""
        if self._sweeping is None:
            return Health(HealthStatus.DOWN, f"{self._pool.place}: the store is not connected")
        try:
            read_only = await self._pool.run(_is_read_only, repeatable=True)
        except AatsError as error:
            return Health(HealthStatus.DOWN, str(error))
        if read_only:
            return Health(HealthStatus.DOWN, f"{self._pool.place}: can only be read; name the primary in `dsn`")
        unused = "; ".join(self._replicas.unused)
        return Health(HealthStatus.DEGRADED, unused) if unused else Health()

    @property
    def native(self) -> Any:
        """An `asyncpg.Pool` of the caller's own, over the same database."""
        return self._native


async def _is_read_only(session: Session) -> bool:
    found: str = await session.value("SELECT current_setting('transaction_read_only')")
    return found == "on"
