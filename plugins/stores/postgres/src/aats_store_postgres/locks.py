"""Locks with fencing tokens: a row each, held until a time that its holder keeps moving on."""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from aats_core.clock import Clock
from aats_core.errors import StoreError
from aats_core.message import new_id
from aats_core.store import Lock
from aats_store_postgres.pool import Pool
from aats_store_postgres.servertime import ServerTime
from aats_store_postgres.session import Row, Session

log = logging.getLogger("aats.store.postgres")

LAYOUT = """
CREATE TABLE IF NOT EXISTS {space}.locks (
    namespace text NOT NULL,
    name text COLLATE "C" NOT NULL,
    token bigint NOT NULL,
    holder text NOT NULL,
    expires float8 NOT NULL,
    PRIMARY KEY (namespace, name)
);
"""

_RENEWALS_PER_TTL = 3
_LOOK = 0.25
"""Seconds, more or less, between two looks whether a holder elsewhere has released its lock before its time."""


class _Holder(msgspec.Struct, frozen=True):
    """Who asks for which lock, and for how many seconds at a time."""

    name: str
    id: str
    ttl: float


class Locks:
    """Takes, renews and releases locks. Those who wait within this process are served in the order they came."""

    def __init__(self, pool: Pool, clock: Clock, time: ServerTime, space: str, namespace: str) -> None:
        self._pool = pool
        self._clock = clock
        self._time = time
        self._table = f"{space}.locks"
        self._namespace = namespace
        self._queues: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, name: str, ttl: float, timeout: float | None) -> AsyncIterator[Lock]:
        """Hold a lock while in the context; raises `TimeoutError` where it could not be had in time."""
        if not ttl > 0:
            raise StoreError(f"lock {name}: a ttl is more than 0 seconds, not {ttl:g}")
        queue = self._queues.setdefault(name, asyncio.Lock())
        holder = _Holder(name, new_id(), ttl)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout):
                    await stack.enter_async_context(queue)
                    stack.push_async_callback(self._release, holder)
                    token = await self._take(holder)
            except TimeoutError as error:
                raise TimeoutError(f"lock {name}: somebody else held it for {timeout:g} seconds") from error
            renewing = asyncio.create_task(self._renew(holder))
            stack.callback(renewing.cancel)
            yield Lock(name, token)

    async def _take(self, holder: _Holder) -> int:
        sql = (
            f"WITH taken AS (INSERT INTO {self._table} AS held VALUES ($1, $2, 1, $3, $4) ON CONFLICT (namespace, name)"
            " DO UPDATE SET token = held.token + 1, holder = excluded.holder, expires = excluded.expires"
            " WHERE held.expires <= $5 RETURNING token)"
            f" SELECT (SELECT token FROM taken), (SELECT expires FROM {self._table}"
            " WHERE namespace = $1 AND name = $2)"
        )
        while True:
            now = self._time.now()
            ((token, held_until),) = await self._fetch(sql, holder, now + holder.ttl, now)
            if token is not None:
                return int(token)
            look = _LOOK * random.uniform(0.5, 1.5)  # noqa: S311 - spreads looks, hides nothing
            await self._clock.sleep(min(look, max((held_until or now) - self._time.now(), 0.001)))

    async def _fetch(self, sql: str, holder: _Holder, *arguments: float) -> list[Row]:
        async def work(session: Session) -> list[Row]:
            return await session.fetch(sql, self._namespace, holder.name, holder.id, *arguments)

        return await self._pool.run(work)

    async def _renew(self, holder: _Holder) -> None:
        while True:
            await self._clock.sleep(holder.ttl / _RENEWALS_PER_TTL)
            try:
                if not await self._set_expiry(holder, self._time.now() + holder.ttl):
                    log.error("lock %s: its time ran out before it was renewed, and another took it", holder.name)
                    return
            except StoreError as error:
                log.warning("lock %s: could not be renewed, trying again: %s", holder.name, error)

    async def _release(self, holder: _Holder) -> None:
        """Let the next one have the lock; where that fails, its time will run out."""
        try:
            await self._set_expiry(holder, 0.0)
        except StoreError as error:
            log.warning("lock %s: could not be released, its time will run out: %s", holder.name, error)

    async def _set_expiry(self, holder: _Holder, expires: float) -> bool:
        """Say until when a lock is held; tells whether it still is."""
        sql = (
            f"UPDATE {self._table} SET expires = $4 WHERE namespace = $1 AND name = $2 AND holder = $3 RETURNING token"
        )
        return bool(await self._fetch(sql, holder, expires))
