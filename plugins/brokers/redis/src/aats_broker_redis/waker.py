"""Hears from the server, by publish and subscribe, that there is something for a consumer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redis.asyncio.client import PubSub

from aats_broker_redis.link import FIRST_WAIT, LOST, Link
from aats_core.errors import BrokerUnavailable

_log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without a word after which the connection is tried."""


class Waker:
    """Listens to one channel, again after every loss of its connection.

    `wake` is called with each message; `wake_all` each time it begins to listen, for what it did not hear before.
    """

    def __init__(
        self, link: Link, channel: str, *, wake: Callable[[bytes], None], wake_all: Callable[[], None]
    ) -> None:
        self._link = link
        self._channel = channel
        self._wake = wake
        self._wake_all = wake_all
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async with self._link.client() as client, client.pubsub() as pubsub:
                    async with asyncio.timeout(SILENCE):
                        await pubsub.subscribe(self._channel)
                    await self._listen(pubsub)
            except (*LOST, BrokerUnavailable) as error:
                _log.debug("the channel for wake-ups is lost: %s", error)
                await asyncio.sleep(FIRST_WAIT)

    async def _listen(self, pubsub: PubSub) -> None:
        tried = False
        while True:
            message = await pubsub.get_message(timeout=SILENCE)
            if message is None:
                if tried:
                    raise TimeoutError
                async with asyncio.timeout(SILENCE):
                    await pubsub.ping()
                tried = True
                continue
            tried = False
            if message["type"] == "subscribe":
                self.listening.set()
                self._wake_all()
            elif message["type"] == "message":
                self._wake(message["data"])
