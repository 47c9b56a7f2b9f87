"""What other processes publish: one connection hears all that this process listens to, again after each loss."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis import exceptions
from redis.asyncio.client import PubSub

from aats_core.errors import StoreError, StoreUnavailable
from aats_store_redis.failures import LOST, Unsent, reason
from aats_store_redis.link import Link

log = logging.getLogger("aats.store.redis")

_SILENCE = 5.0
"""Seconds without a word after which the connection is tried."""
_PAUSE = 0.1
"""Seconds, more or less, before the next attempt to listen again."""
_MOST_WAITING = 1000
"""Messages that wait for a listener; of more the oldest are dropped."""


class Listener:
    """What comes in for one who listens: channel and data of each message; both empty where some were missed."""

    def __init__(self, channel: str, *, pattern: bool) -> None:
        self.channel = channel
        self.pattern = pattern
        self.listening = asyncio.Event()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._arrived = asyncio.Event()
        self.ended = False

    def take(self, channel: str, data: bytes) -> None:
        """Keep a message until it is asked for."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            log.warning("%s: a listener is too slow, its oldest message is dropped", self.channel)
        self._waiting.append((channel, data))
        self._arrived.set()

    def end(self) -> None:
        """Say that nothing more will come."""
        self.ended = True
        self._arrived.set()

    async def get(self) -> tuple[str, bytes]:
        """Wait for the next message; raises `StoreUnavailable` once the store is closed."""
        while not self._waiting:
            if self.ended:
                raise StoreUnavailable("the store is closed")
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


class Subscriptions:
    """Listens to channels and patterns, again after every loss of the connection."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._listeners: dict[tuple[str, bool], set[Listener]] = {}
        self._pubsub: PubSub | None = None
        self._running: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop to listen; listeners are told that there will be no more."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])
        for listeners in self._listeners.values():
            for each in listeners:
                each.end()
        self._listeners.clear()

    @asynccontextmanager
    async def listening(self, channel: str, *, pattern: bool = False) -> AsyncIterator[Listener]:
        """Listen to a channel while in the context."""
        listener = await self.listen(channel, pattern=pattern)
        try:
            yield listener
        finally:
            await self.leave(listener)

    async def listen(self, channel: str, *, pattern: bool = False) -> Listener:
        """Begin to listen; returns once the server knows. Raises `StoreUnavailable` where it does not in time."""
        listener = Listener(channel, pattern=pattern)
        others = self._listeners.setdefault((channel, pattern), set())
        if any(each.listening.is_set() for each in others):
            listener.listening.set()
        others.add(listener)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            if not listener.listening.is_set() and self._pubsub is not None:
                await _subscribe(self._pubsub, listener.channel, pattern=pattern)
            async with asyncio.timeout(self._timeout):
                await listener.listening.wait()
        except BaseException as error:
            await self.leave(listener)
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(f"{self._link.place}: cannot listen to {channel}, no answer came") from error
            raise
        return listener

    async def leave(self, listener: Listener) -> None:
        """Listen no longer."""
        which = (listener.channel, listener.pattern)
        others = self._listeners.get(which, set())
        others.discard(listener)
        listener.end()
        if others or which not in self._listeners:
            return
        del self._listeners[which]
        if self._pubsub is not None:
            with suppress(exceptions.RedisError, OSError):
                await (self._pubsub.punsubscribe if listener.pattern else self._pubsub.unsubscribe)(listener.channel)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (*LOST, exceptions.RedisError, StoreError, Unsent) as error:
                log.debug("listening was interrupted: %s", reason(error))
            await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads attempts, hides nothing

    async def _listen(self) -> None:
        server = await self._link.server()
        async with server.client() as client, client.pubsub() as pubsub:
            try:
                for channel, pattern in list(self._listeners):
                    await _subscribe(pubsub, channel, pattern=pattern)
                self._pubsub = pubsub
                for channel, pattern in list(self._listeners):  # those that came meanwhile; once more is harmless
                    await _subscribe(pubsub, channel, pattern=pattern)
                await self._hear(pubsub)
            finally:
                self._pubsub = None
                for listeners in self._listeners.values():
                    for each in listeners:
                        each.listening.clear()

    async def _hear(self, pubsub: PubSub) -> None:
        tried = False
        while True:
            if not pubsub.subscribed:
                await asyncio.sleep(_PAUSE)
                continue
            message = await pubsub.get_message(timeout=_SILENCE)
            if message is None:
                if tried:
                    raise TimeoutError
                await pubsub.ping()
                tried = True
                continue
            tried = False
            self._dispatch(message["type"], message)

    def _dispatch(self, kind: str, message: dict[str, bytes]) -> None:
        name = message["pattern" if kind == "pmessage" else "channel"]
        pattern = kind.startswith("p")
        for each in self._listeners.get(((name or b"").decode(), pattern), ()):
            if kind in ("message", "pmessage"):
                each.take(message["channel"].decode(), message["data"])
            elif kind in ("subscribe", "psubscribe") and not each.listening.is_set():
                each.listening.set()
                each.take("", b"")


async def _subscribe(pubsub: PubSub, channel: str, *, pattern: bool) -> None:
    await (pubsub.psubscribe if pattern else pubsub.subscribe)(channel)
