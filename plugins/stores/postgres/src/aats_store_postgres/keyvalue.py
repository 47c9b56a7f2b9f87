"""The key-value store: values with a time to live, counters, rate limits and locks in one table each."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from aats_core.errors import StoreError
from aats_core.query.values import MAX_INT, MIN_INT
from aats_core.storage.keyvalues import check_limit, check_ttl
from aats_core.store import KeyValueStore, Lock
from aats_store_postgres.codec import decode, encode
from aats_store_postgres.locks import PostgresLocks
from aats_store_postgres.pool import Pool
from aats_store_postgres.servertime import ServerTime
from aats_store_postgres.session import Row, Session

LAYOUT = """
CREATE TABLE IF NOT EXISTS {space}.keys (
    namespace text NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text,
    bytes bytea,
    expires float8,
    PRIMARY KEY (namespace, key)
);
CREATE INDEX IF NOT EXISTS keys_expiring ON {space}.keys (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS {space}.limits (
    namespace text NOT NULL,
    key text COLLATE "C" NOT NULL,
    taken_until float8 NOT NULL,
    PRIMARY KEY (namespace, key)
);
"""

_RESOLUTION = 1e-5
"""Seconds by which sums of times may be off."""

_LIVES = "(expires IS NULL OR expires > $3)"
_INTEGER = "'^-?[0-9]{1,19}$'"


class PostgresKeyValues(KeyValueStore):
    """Values under string keys in a PostgreSQL database."""

    def __init__(self, pool: Pool, locks: PostgresLocks, time: ServerTime, space: str, namespace: str) -> None:
        self._pool = pool
        self._locks = locks
        self._time = time
        self._namespace = namespace
        self._keys = f"{space}.keys"
        self._limits = f"{space}.limits"

    async def _fetch(self, sql: str, key: str, *arguments: Any, repeatable: bool = False) -> list[Row]:
        if "\0" in key:
            raise StoreError(f"{key!r}: a key holds no NUL character")

        async def work(session: Session) -> list[Row]:
            return await session.fetch(sql, self._namespace, key, *arguments)

        return await self._pool.run(work, repeatable=repeatable)

    async def get(self, key: str) -> Any:
        """Return the value, or None."""
        sql = f"SELECT value, bytes FROM {self._keys} WHERE namespace = $1 AND key = $2 AND {_LIVES}"
        rows = await self._fetch(sql, key, self._time.now(), repeatable=True)
        if not rows:
            return None
        text, data = rows[0]
        return data if text is None else decode(text)

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Write a value, for `ttl` seconds or for good."""
        check_ttl(key, ttl)
        text, data = (None, value) if isinstance(value, bytes) else (encode(value, key), None)
        expires = None if ttl is None else self._time.now() + ttl
        sql = (
            f"INSERT INTO {self._keys} VALUES ($1, $2, $3, $4, $5) ON CONFLICT (namespace, key) DO UPDATE"
            " SET value = excluded.value, bytes = excluded.bytes, expires = excluded.expires"
        )
        await self._fetch(sql, key, text, data, expires)

    async def delete(self, key: str) -> bool:
        """Delete a key; tells whether there was one."""
        sql = (
            f"DELETE FROM {self._keys} WHERE namespace = $1 AND key = $2 RETURNING {_LIVES} AND value IS DISTINCT FROM"
            " 'null'"
        )
        rows = await self._fetch(sql, key, self._time.now())
        return bool(rows) and bool(rows[0][0])

    async def increment(self, key: str, by: int = 1) -> int:
        """Add to an integer and return the new value; its time to live stays. `StoreError` where it is no integer."""
        lives = "(held.expires IS NULL OR held.expires > $3)"
        old = (
            f"CASE WHEN NOT {lives} OR held.value = 'null' THEN 0"
            f" WHEN held.value ~ {_INTEGER} THEN held.value::numeric END"
        )
        sql = (
            f"INSERT INTO {self._keys} AS held (namespace, key, value) VALUES ($1, $2, $4::numeric::text)"
            f" ON CONFLICT (namespace, key) DO UPDATE SET value = ({old} + $4::numeric)::text, bytes = NULL,"
            f" expires = CASE WHEN {lives} THEN held.expires END"
            f" WHERE {old} + $4::numeric BETWEEN {MIN_INT} AND {MAX_INT} RETURNING value"
        )
        if not MIN_INT <= by <= MAX_INT:
            raise StoreError(f"{key}: {by} does not fit into 64 bits")
        rows = await self._fetch(sql, key, self._time.now(), by)
        if not rows:
            raise StoreError(f"{key}: holds no integer to add {by} to, or the sum does not fit into 64 bits")
        return int(rows[0][0])

    def lock(self, name: str, *, ttl: float = 30.0, timeout: float | None = None) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock while in the context."""
        return self._locks.hold(name, ttl, timeout)

    async def limit(self, key: str, *, rate: int, per: float) -> float:
        """Take one of `rate` permits per `per` seconds, by a bucket of `rate` permits that is filled steadily.

        Returns 0.0, or the seconds after which to try again. By the generic cell rate algorithm, which keeps one time:
        until when permits are taken.
        """
        check_limit(key, rate, per)
        now = self._time.now()
        taken = "greatest(held.taken_until, $3::float8) + $4::float8"
        sql = (
            f"WITH taken AS (INSERT INTO {self._limits} AS held VALUES ($1, $2, $3::float8 + $4::float8)"
            f" ON CONFLICT (namespace, key) DO UPDATE SET taken_until = {taken}"
            f" WHERE {taken} - $5::float8 - $3::float8 <= {_RESOLUTION} RETURNING 0)"
            f" SELECT (SELECT true FROM taken), (SELECT taken_until FROM {self._limits}"
            " WHERE namespace = $1 AND key = $2)"
        )
        ((got, until),) = await self._fetch(sql, key, now, per / rate, per)
        return 0.0 if got else max(max(until or now, now) + per / rate - per - now, _RESOLUTION)


async def sweep(session: Session, space: str, now: float) -> None:
    """Delete values whose time has run out, and limits that bind nobody any more."""
    await session.fetch(f"DELETE FROM {space}.keys WHERE expires <= $1", now)
    await session.fetch(f"DELETE FROM {space}.limits WHERE taken_until <= $1", now)
