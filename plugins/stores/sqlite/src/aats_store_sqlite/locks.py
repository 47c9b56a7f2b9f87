"""Locks with fencing tokens: a row each, held until a time that its holder keeps moving on."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from aats_core.clock import Clock
from aats_core.errors import StoreError
from aats_core.message import new_id
from aats_core.store import Lock
from aats_store_sqlite.session import Session
from aats_store_sqlite.writer import Writer

log = logging.getLogger("aats.store.sqlite")

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

_RENEWALS_PER_TTL = 3


class _Holder(msgspec.Struct, frozen=True):
    """Who asks for which lock, and for how many seconds at a time."""

    name: str
    id: str
    ttl: float


class _Attempt(msgspec.Struct, frozen=True):
    """What came of asking for a lock: its token, or until when somebody else holds it."""

    token: int | None
    held_until: float


class Locks:
    """Takes, renews and releases locks. Those who wait within this process are served in the order they came."""

    def __init__(self, writer: Writer, clock: Clock, namespace: str) -> None:
        self._writer = writer
        self._clock = clock
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
        while True:
            attempt: _Attempt = await self._writer.submit(lambda session: self._try(session, holder), atomic=True)
            if attempt.token is not None:
                return attempt.token
            await self._clock.sleep(attempt.held_until - self._clock.time())

    def _try(self, session: Session, holder: _Holder) -> _Attempt:
        now = self._clock.time()
        row: Any = session.connection.execute(
            "SELECT token, expires FROM aats_locks WHERE namespace = ? AND name = ?", (self._namespace, holder.name)
        ).fetchone()
        token, expires = row or (0, 0.0)
        if expires > now:
            return _Attempt(None, expires)
        session.connection.execute(
            "INSERT INTO aats_locks VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET token = excluded.token, holder = excluded.holder, expires = excluded.expires",
            (self._namespace, holder.name, token + 1, holder.id, now + holder.ttl),
        )
        return _Attempt(token + 1, now + holder.ttl)

    async def _renew(self, holder: _Holder) -> None:
        while True:
            await self._clock.sleep(holder.ttl / _RENEWALS_PER_TTL)
            expires = self._clock.time() + holder.ttl
            try:
                if not await self._set_expiry(holder, expires):
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

        def step(session: Session) -> bool:
            session.connection.execute(
                "UPDATE aats_locks SET expires = ? WHERE namespace = ? AND name = ? AND holder = ?",
                (expires, self._namespace, holder.name, holder.id),
            )
            return bool(session.connection.changes())

        held: bool = await self._writer.submit(step, atomic=True)
        return held
