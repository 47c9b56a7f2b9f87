"""Locks: a row each, held until a time of this process's clock."""

from __future__ import annotations

import logging
from typing import Any

from aats_core.clock import Clock
from aats_core.storage.locks import Attempt, Holder, Locks
from aats_store_sqlite.session import Session
from aats_store_sqlite.writer import Writer

LAYOUT = """
CREATE TABLE aats_locks (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    token INTEGER NOT NULL,
    holder TEXT NOT NULL,
    expires REAL NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
"""


class SqliteLocks(Locks):
    """Locks in a SQLite file."""

    def __init__(self, writer: Writer, clock: Clock, namespace: str) -> None:
        super().__init__(clock, logging.getLogger("aats.store.sqlite"))
        self._writer = writer
        self._namespace = namespace

    async def _try(self, holder: Holder) -> Attempt:
        def step(session: Session) -> Attempt:
            now = self._clock.time()
            row: Any = session.connection.execute(
                "SELECT token, expires FROM aats_locks WHERE namespace = ? AND name = ?", (self._namespace, holder.name)
            ).fetchone()
            token, expires = row or (0, 0.0)
            if expires > now:
                return Attempt(wait=expires - now)
            session.connection.execute(
                "INSERT INTO aats_locks VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET token = excluded.token, holder = excluded.holder, expires = excluded.expires",
                (self._namespace, holder.name, token + 1, holder.id, now + holder.ttl),
            )
            return Attempt(token + 1)

        attempt: Attempt = await self._writer.submit(step, atomic=True)
        return attempt

    async def _extend(self, holder: Holder) -> bool:
        return await self._set_expiry(holder, self._clock.time() + holder.ttl)

    async def _free(self, holder: Holder) -> None:
        await self._set_expiry(holder, 0.0)

    async def _set_expiry(self, holder: Holder, expires: float) -> bool:
        def step(session: Session) -> bool:
            session.connection.execute(
                "UPDATE aats_locks SET expires = ? WHERE namespace = ? AND name = ? AND holder = ?",
                (expires, self._namespace, holder.name, holder.id),
            )
            return bool(session.connection.changes())

        held: bool = await self._writer.submit(step, atomic=True)
        return held
