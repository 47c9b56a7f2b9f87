"""LISTEN and NOTIFY: short messages between clients of a database, heard by those who listen just then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from aats_core.errors import StoreError, StoreUnavailable
from aats_core.store import Capability
from aats_store_postgres.failures import LOST
from aats_store_postgres.pool import Pool
from aats_store_postgres.session import Connection, Session

log = logging.getLogger("aats.store.postgres")

_MOST_BYTES, _MOST_NAME_BYTES = 7999, 63
_MOST_WAITING = 10_000
"""Messages that a listener may be behind with; those that come then are dropped, and it is told of a gap."""


class Notification(msgspec.Struct, frozen=True):
    """What was said on a channel; with `gap`, that something may have been said before that was not heard."""

    channel: str
    payload: str = ""
    gap: bool = False


class PostgresNotifications(Capability):
    """Says and hears things on channels of the database, whose names it shares with all of its other clients."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool = pool
        self._listener = listener

    async def notify(self, channel: str, payload: str = "") -> None:
        """Say something, of at most 7,999 bytes, to all who listen to a channel; nobody hears it later."""
        _check(channel)
        if "\0" in payload or len(payload.encode()) > _MOST_BYTES:
            raise StoreError(f"channel {channel}: a payload has at most {_MOST_BYTES} bytes and no NUL character")

        async def work(session: Session) -> None:
            await session.fetch("SELECT pg_notify($1, $2)", channel, payload)

        await self._pool.run(work)

    def listen(self, *channels: str) -> AbstractAsyncContextManager[AsyncIterator[Notification]]:
        """Return a context within which nothing that is said goes unheard, and which yields it in order.

        Once a lost connection is back, each channel gets a notification with `gap`: look there for what was said
        meanwhile. Raises `StoreUnavailable` where it cannot begin.
        """
        for channel in channels:
            _check(channel)
        return self._listener.listen(*channels)


def _check(channel: str) -> None:
    if not channel or "\0" in channel or len(channel.encode()) > _MOST_NAME_BYTES:
        raise StoreError(f"channel {channel!r}: a name has 1 to {_MOST_NAME_BYTES} bytes and no NUL character")


class _Ear:
    """One who listens."""

    def __init__(self, channels: tuple[str, ...]) -> None:
        self.channels = channels
        self.begun = False
        self._heard: deque[Notification] = deque()
        self._missed: dict[str, None] = {}
        self._closed = ""
        self._news = asyncio.Event()

    def hear(self, notification: Notification) -> None:
        """Take note of a notification."""
        if len(self._heard) < _MOST_WAITING:
            self._heard.append(notification)
        else:
            self._missed[notification.channel] = None
        self._news.set()

    def close(self, reason: str) -> None:
        """Say that nothing will be heard any more."""
        self._closed = reason
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Notification]:
        """Yield what is heard; raises `StoreUnavailable` once the store is closed."""
        while True:
            while self._heard:
                yield self._heard.popleft()
            missed, self._missed = self._missed, {}
            for channel in missed:
                yield Notification(channel, gap=True)
            if self._closed:
                raise StoreUnavailable(self._closed)
            self._news.clear()
            if not self._heard:
                await self._news.wait()


class Listener:
    """Hears with one connection of its own for everyone in this process; it is opened when somebody begins to listen.

    A connection that is silently dead is noticed within the `timeout` of the settings, and lost ones are replaced.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ears: set[_Ear] = set()
        self._connection: Connection | None = None
        self._lost = asyncio.Event()
        self._changing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop hearing."""
        for ear in self._ears:
            ear.close(f"{self._pool.place}: the store was closed")
        await self._end()

    @asynccontextmanager
    async def listen(self, *channels: str) -> AsyncIterator[AsyncIterator[Notification]]:
        """Hear what is said on some channels; see `PostgresNotifications.listen`."""
        ear = _Ear(channels)
        self._ears.add(ear)
        try:
            async with self._changing:
                await self._begin(ear)
            yield aiter(ear)
        finally:
            self._ears.discard(ear)
            async with self._changing:
                await self._leave(ear)

    async def _begin(self, ear: _Ear) -> None:
        """Have the server send what is said on the channels of one who has come."""
        if self._connection is None or not await self._add(self._connection, ear):
            await self._connect()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def _add(self, connection: Connection, ear: _Ear) -> bool:
        try:
            async with asyncio.timeout(self._pool.timeout):
                for channel in ear.channels:
                    await connection.add_listener(channel, self._on_message)
        except LOST:
            return False
        ear.begun = True
        return True

    async def _connect(self) -> None:
        """Replace the connection, and tell those who listened before that they may have missed something."""
        self._drop()
        self._connection = await self._pool.own(self._prepare)
        for ear in self._ears:
            for channel in ear.channels if ear.begun else ():
                ear.hear(Notification(channel, gap=True))
            ear.begun = True

    async def _prepare(self, session: Session) -> None:
        session.connection.add_termination_listener(lambda _: self._lost.set())
        for channel in {channel for ear in self._ears for channel in ear.channels}:
            await session.connection.add_listener(channel, self._on_message)

    async def _leave(self, ear: _Ear) -> None:
        """Have the server no longer send what nobody wants; without anybody there is no connection."""
        if not self._ears:
            await self._end()
        elif self._connection is not None:
            wanted = {channel for other in self._ears for channel in other.channels}
            with contextlib.suppress(*LOST):
                for channel in set(ear.channels) - wanted:
                    await self._connection.remove_listener(channel, self._on_message)

    async def _end(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _on_message(self, _: Connection, __: int, channel: str, payload: str) -> None:
        for ear in self._ears:
            if channel in ear.channels:
                ear.hear(Notification(channel, payload))

    async def _watch(self) -> None:
        """Look after the connection, and replace it where it is lost."""
        while True:
            if self._connection is not None and await self._lives(self._connection):
                continue
            async with self._changing:
                try:
                    await self._connect()
                except StoreError as error:
                    log.warning("nothing can be heard, trying again: %s", error)

    async def _lives(self, connection: Connection) -> bool:
        """Wait a while, and tell whether a connection still lives."""
        try:
            async with asyncio.timeout(self._pool.timeout / 2):
                await self._lost.wait()
        except TimeoutError:
            with contextlib.suppress(*LOST):
                await connection.execute("SELECT", timeout=self._pool.timeout / 2)
                return True
            return False
        self._lost.clear()
        return not connection.is_closed()
