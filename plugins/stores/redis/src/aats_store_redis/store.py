"""The Redis store: connects to the servers, and offers keys, records and what only Redis can do over them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, ClassVar

from aats_core.clock import Clock
from aats_core.health import Health, HealthStatus
from aats_core.settings import TeamInfo
from aats_core.storage.evaluated import EvaluatedRecords
from aats_core.storage.expiry import sweep_regularly
from aats_core.store import Capability, Store
from aats_store_redis.channels import RedisChannels
from aats_store_redis.counters import RedisCounters
from aats_store_redis.database import RedisDatabase
from aats_store_redis.health import examine
from aats_store_redis.keyvalue import RedisKeyValues
from aats_store_redis.link import Link
from aats_store_redis.locks import RedisLocks
from aats_store_redis.sessions import RedisSessions
from aats_store_redis.settings import RedisSettings
from aats_store_redis.subscriptions import Subscriptions

log = logging.getLogger("aats.store.redis")


class RedisStore(Store):
    """Keeps keys, locks, sessions and records in Redis, on one server or a cluster.

    What is asked for at the same time travels together. A write is durable once it returns where the server syncs its
    append-only file always.
    """

    Settings: ClassVar[type[RedisSettings]] = RedisSettings

    def __init__(self, settings: RedisSettings, info: TeamInfo, clock: Clock) -> None:
        namespace = info.namespace
        self._settings = settings
        self._clock = clock
        self._link = Link(settings)
        self._subscriptions = Subscriptions(self._link, settings.timeout)
        self._database = RedisDatabase(self._link, settings, namespace)
        self._records = EvaluatedRecords(self._database, clock)
        locks = RedisLocks(self._link, self._subscriptions, clock, namespace)
        self._capabilities = (
            self._records,
            RedisKeyValues(self._link, locks, namespace, settings.max_document_bytes),
            RedisSessions(self._link, namespace),
            RedisChannels(self._link, self._subscriptions, namespace),
            RedisCounters(self._link, namespace),
        )
        self._sweeping: asyncio.Task[None] | None = None
        self._native: Any = None

    @property
    def capabilities(self) -> Sequence[Capability]:
        """Records, key-values, sessions, channels and counters."""
        return self._capabilities

    async def connect(self) -> None:
        """Find the servers; raises `StoreUnavailable` where they cannot be used."""
        await self._link.open()
        self._native = self._link.native()
        self._sweeping = asyncio.create_task(
            sweep_regularly(self._sweep, self._clock, self._settings.expiry_interval, log)
        )

    async def _sweep(self) -> None:
        await self._records.expire(await self._database.expiring(), await self._database.time())

    async def close(self) -> None:
        """Finish what was begun and close the connections."""
        if self._sweeping is None:
            return
        sweeping, self._sweeping = self._sweeping, None
        sweeping.cancel()
        await asyncio.wait([sweeping])
        await self._records.drain()
        await self._subscriptions.close()
        await self._link.close()
        await self._native.aclose()

    async def health(self) -> Health:
        """Say whether the servers can be reached, and whether they keep what they confirm."""
        if self._sweeping is None:
            return Health(HealthStatus.DOWN, f"{self._link.place}: the store is not connected")
        return await examine(self._link)

    @property
    def native(self) -> Any:
        """A `redis.asyncio` client of the caller's own: `Redis`, or `RedisCluster` for a cluster."""
        return self._native
