"""Locks: a row each, held until a time of the server."""

from __future__ import annotations

import logging
import random

from aats_core.clock import Clock
from aats_core.storage.locks import Attempt, Holder, Locks
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

_LOOK = 0.25
"""Seconds, more or less, between two looks whether a holder elsewhere has released its lock before its time."""


class PostgresLocks(Locks):
    """Locks in a PostgreSQL database."""

    def __init__(self, pool: Pool, clock: Clock, time: ServerTime, space: str, namespace: str) -> None:
        super().__init__(clock, logging.getLogger("aats.store.postgres"))
        self._pool = pool
        self._time = time
        self._table = f"{space}.locks"
        self._namespace = namespace

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
        look = _LOOK * random.uniform(0.5, 1.5)  # noqa: S311 - spreads looks, hides nothing
        return Attempt(token, min(look, max((held_until or now) - self._time.now(), 0.001)))

    async def _fetch(self, sql: str, holder: Holder, *arguments: float) -> list[Row]:
        async def work(session: Session) -> list[Row]:
            return await session.fetch(sql, self._namespace, holder.name, holder.id, *arguments)

        return await self._pool.run(work)

    async def _extend(self, holder: Holder) -> bool:
        return await self._set_expiry(holder, self._time.now() + holder.ttl)

    async def _free(self, holder: Holder) -> None:
        await self._set_expiry(holder, 0.0)

    async def _set_expiry(self, holder: Holder, expires: float) -> bool:
        sql = (
            f"UPDATE {self._table} SET expires = $4 WHERE namespace = $1 AND name = $2 AND holder = $3 RETURNING token"
        )
        return bool(await self._fetch(sql, holder, expires))
