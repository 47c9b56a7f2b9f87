"""Channels: what is published reaches all who listen at that moment, in whatever process, and is kept for nobody."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

from aats_core.errors import StoreUnavailable
from aats_core.store import Capability
from aats_store_redis.keyvalue import decode_value, encode_value
from aats_store_redis.link import Link
from aats_store_redis.subscriptions import Listener, Subscriptions

_SPECIAL = re.compile(r"([?\[\]\\^-])")


class Published(NamedTuple):
    """What came over a channel."""

    channel: str
    value: Any


class RedisChannels(Capability):
    """Publishes to everybody who listens; use a broker for what must not be lost."""

    def __init__(self, link: Link, subscriptions: Subscriptions, namespace: str) -> None:
        self._link = link
        self._subscriptions = subscriptions
        self._prefix = f"aats:{namespace}:c:"

    async def publish(self, channel: str, value: Any) -> None:
        """Send a value, such as a key may hold, to all who listen now."""
        name = f"{self._prefix}{channel}"
        await self._link.ask(name, "PUBLISH", name, encode_value(value, channel))

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Published]]:
        """Listen to a channel while in the context; in its name `*` stands for anything.

        The iterator goes on after a loss of the connection, without what was published meanwhile, and ends when the
        store is closed. Of more than a thousand values that nobody has taken yet the oldest are dropped.
        """
        return self._subscribe(channel)

    @asynccontextmanager
    async def _subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[Published]]:
        pattern = "*" in channel
        name = self._prefix + (_SPECIAL.sub(r"\\\1", channel) if pattern else channel)
        async with self._subscriptions.listening(name, pattern=pattern) as listener:
            yield self._values(listener)

    async def _values(self, listener: Listener) -> AsyncIterator[Published]:
        while True:
            try:
                name, data = await listener.get()
            except StoreUnavailable:
                return
            if name:
                yield Published(name.removeprefix(self._prefix), decode_value(data))
