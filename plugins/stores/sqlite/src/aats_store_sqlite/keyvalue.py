"""The key-value store: values with a time to live, counters, rate limits and locks in one table each."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import apsw

from aats_core.clock import Clock
from aats_core.errors import StoreError
from aats_core.query.values import MAX_INT, MIN_INT
from aats_core.storage.keyvalues import check_limit, check_ttl
from aats_core.store import KeyValueStore, Lock
from aats_store_sqlite.codec import decode, encode
from aats_store_sqlite.locks import SqliteLocks
from aats_store_sqlite.readers import Readers
from aats_store_sqlite.session import Session
from aats_store_sqlite.writer import Writer

LAYOUT = """
CREATE TABLE aats_keys (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    value NOT NULL,
    expires REAL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
CREATE INDEX aats_keys_expiring ON aats_keys (expires) WHERE expires IS NOT NULL;
CREATE TABLE aats_limits (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    taken_until REAL NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
"""

_RESOLUTION = 1e-6
"""Seconds by which sums of times may be off."""


class SqliteKeyValues(KeyValueStore):
    """Values under string keys in a SQLite file."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, namespace: str) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._namespace = namespace
        self._locks = SqliteLocks(writer, clock, namespace)

    async def get(self, key: str) -> Any:
        """Return the value, or None."""
        now = self._clock.time()
        return await self._readers.run(lambda connection: self._value(connection, key, now))

    def _value(self, connection: apsw.Connection, key: str, now: float) -> Any:
        stored: Any = connection.execute(
            "SELECT value FROM aats_keys WHERE namespace = ? AND key = ? AND (expires IS NULL OR expires > ?)",
            (self._namespace, key, now),
        ).get
        return decode(stored) if isinstance(stored, str) else stored

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Write a value, for `ttl` seconds or for good."""
        check_ttl(key, ttl)
        stored = value if isinstance(value, bytes) else encode(value, key)
        expires = None if ttl is None else self._clock.time() + ttl
        await self._writer.submit(lambda session: self._put(session, key, stored, expires), atomic=True)

    def _put(self, session: Session, key: str, stored: str | bytes, expires: float | None) -> None:
        session.connection.execute(
            "INSERT INTO aats_keys VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET value = excluded.value, expires = excluded.expires",
            (self._namespace, key, stored, expires),
        )

    async def delete(self, key: str) -> bool:
        """Delete a key; tells whether there was one."""
        now = self._clock.time()

        def step(session: Session) -> bool:
            existed = self._value(session.connection, key, now) is not None
            session.connection.execute("DELETE FROM aats_keys WHERE namespace = ? AND key = ?", (self._namespace, key))
            return existed

        existed: bool = await self._writer.submit(step, atomic=True)
        return existed

    async def increment(self, key: str, by: int = 1) -> int:
        """Add to an integer and return the new value; its time to live stays. `StoreError` where it is no integer."""
        now = self._clock.time()

        def step(session: Session) -> int:
            value = self._value(session.connection, key, now)
            if value.__class__ is not int and value is not None:
                raise StoreError(f"{key}: holds {value!r}, which is no integer to add to")
            total: int = (value or 0) + by
            if not MIN_INT <= total <= MAX_INT:
                raise StoreError(f"{key}: {total} does not fit into 64 bits")
            if value is None:
                self._put(session, key, str(total), None)
            else:
                session.connection.execute(
                    "UPDATE aats_keys SET value = ? WHERE namespace = ? AND key = ?",
                    (str(total), self._namespace, key),
                )
            return total

        result: int = await self._writer.submit(step, atomic=True)
        return result

    def lock(self, name: str, *, ttl: float = 30.0, timeout: float | None = None) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock while in the context."""
        return self._locks.hold(name, ttl, timeout)

    async def limit(self, key: str, *, rate: int, per: float) -> float:
        """Take one of `rate` permits per `per` seconds, by a bucket of `rate` permits that is filled steadily.

        Returns 0.0, or the seconds after which to try again.
        """
        check_limit(key, rate, per)
        now = self._clock.time()
        wait: float = await self._writer.submit(lambda session: self._take(session, key, now, rate, per), atomic=True)
        return wait

    def _take(self, session: Session, key: str, now: float, rate: int, per: float) -> float:
        """Take a permit by the generic cell rate algorithm, which keeps one time: until when permits are taken."""
        known: Any = session.connection.execute(
            "SELECT taken_until FROM aats_limits WHERE namespace = ? AND key = ?", (self._namespace, key)
        ).get
        taken_until = max(known or now, now) + per / rate
        wait = taken_until - per - now
        if wait > _RESOLUTION:
            return wait
        session.connection.execute(
            "INSERT INTO aats_limits VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET taken_until = excluded.taken_until",
            (self._namespace, key, taken_until),
        )
        return 0.0


def sweep(connection: apsw.Connection, now: float) -> None:
    """Delete values whose time has run out, and limits that bind nobody any more."""
    connection.execute("DELETE FROM aats_keys WHERE expires <= ?", (now,))
    connection.execute("DELETE FROM aats_limits WHERE taken_until <= ?", (now,))
