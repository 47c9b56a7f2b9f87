"""Locks: a row each, held until a time of the server; who lets go of one tells those who wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random

from aats_core.clock import Clock
from aats_core.errors import StoreUnavailable
from aats_core.storage.locks import Attempt, Holder, Locks
from aats_store_postgres.notifications import Listener
from aats_store_postgres.pool import Pool
from aats_store_postgres.servertime import ServerTime
from aats_store_postgres.session import Row, Session

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

_LOOK = 2.0
"""Seconds, more or less, between two looks at a lock where nothing is heard of it, as behind a pooler."""


class PostgresLocks(Locks):
    """Locks in a PostgreSQL database."""

    def __init__(
        self, pool: Pool, listener: Listener, clock: Clock, time: ServerTime, space: str, namespace: str
    ) -> None:
        super().__init__(clock, logging.getLogger("aats.store.postgres"))
        self._pool = pool
        self._listener = listener
        self._time = time
        self._table = f"{space}.locks"
        self._channel = f"{space}.locks"
        self._namespace = namespace

    async def _take(self, holder: Holder) -> int:
        attempt = await self._try(holder)
        if attempt.token is not None:
            return attempt.token
        freed = asyncio.Event()
        async with self._listener.listen(self._channel) as heard:

            async def listen() -> None:
                with contextlib.suppress(StoreUnavailable):  # the store is closed, which the next look says
                    async for notification in heard:
                        if notification.gap or notification.payload == self._payload(holder):
                            freed.set()
                freed.set()

            listening = asyncio.create_task(listen())
            try:
                while (attempt := await self._try(holder)).token is None:
                    await self._wait_for(freed, attempt.wait)
                    freed.clear()
            finally:
                listening.cancel()
        return attempt.token

    async def _wait_for(self, freed: asyncio.Event, seconds: float) -> None:
        look = _LOOK * random.uniform(0.5, 1.5)  # noqa: S311 - spreads looks, hides nothing
        ways = [asyncio.create_task(freed.wait()), asyncio.create_task(self._clock.sleep(min(look, seconds)))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    async def _try(self, holder: Holder) -> Attempt:
        sql = (
            f"WITH taken AS (INSERT INTO {self._table} AS held VALUES ($1, $2, 1, $3, $4) ON CONFLICT (namespace, name)"
            " DO UPDATE SET token = held.token + 1, holder = excluded.holder, expires = excluded.expires"
            " WHERE held.expires <= $5 RETURNING token)"
            f" SELECT (SELECT token FROM taken), (SELECT expires FROM {self._table}"
            " WHERE namespace = $1 AND name = $2)"
        )
        now = self._time.now()
        ((token, held_until),) = await self._fetch(sql, holder, now + holder.ttl, now)
        return Attempt(token, max((held_until or now) - self._time.now(), 0.001))

    async def _fetch(self, sql: str, holder: Holder, *arguments: object) -> list[Row]:
        async def work(session: Session) -> list[Row]:
            return await session.fetch(sql, self._namespace, holder.name, holder.id, *arguments)

        return await self._pool.run(work)

    async def _extend(self, holder: Holder) -> bool:
        sql = (
            f"UPDATE {self._table} SET expires = $4 WHERE namespace = $1 AND name = $2 AND holder = $3 RETURNING token"
        )
        return bool(await self._fetch(sql, holder, self._time.now() + holder.ttl))

    async def _free(self, holder: Holder) -> None:
        sql = (
            f"WITH freed AS (UPDATE {self._table} SET expires = 0 WHERE namespace = $1 AND name = $2 AND holder = $3"
            " RETURNING token) SELECT pg_notify($4, $5) FROM freed"
        )
        await self._fetch(sql, holder, self._channel, self._payload(holder))

    def _payload(self, holder: Holder) -> str:
        """Return what is said of a lock, however long its name is."""
        return hashlib.blake2b(f"{self._namespace} {holder.name}".encode(), digest_size=20).hexdigest()
