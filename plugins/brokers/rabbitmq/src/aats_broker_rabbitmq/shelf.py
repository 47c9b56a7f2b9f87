"""A queue that is read as a list: one reader at a time sees all of it, takes out what it wants, and leaves the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelLockedResource

from aats_broker_rabbitmq.link import Link
from aats_broker_rabbitmq.session import Session, close_channel, translated
from aats_core.errors import BrokerUnavailable

RETRY = 0.01
"""Seconds before another try to get what a reader in another process has locked."""


class Shelf:
    """The lock is a queue that belongs to the reader's connection, so it cannot outlive its holder."""

    def __init__(self, link: Link, queue: str, timeout: float) -> None:
        self._link = link
        self._queue = queue
        self._timeout = timeout
        self._mine = asyncio.Lock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[list[DeliveredMessage], Callable[[DeliveredMessage], None]]]:
        """Yield all that lies there, oldest first, and the function that takes one of them out for good."""
        taken: list[DeliveredMessage] = []
        session = await self._link.ready(self._timeout)
        async with self._mine, translated(f"reading {self._queue}"), asyncio.timeout(self._timeout):
            lock = await self._lock(session)
            channel = await session.channel()
            try:
                found = await self._read(channel)
                yield found, taken.append
                for message in taken:
                    await channel.basic_ack(message.delivery_tag or 0, wait=False)
                await self._give_back(channel, len(found) - len(taken))
            finally:
                await close_channel(channel, self._timeout)
                await close_channel(lock, self._timeout)

    async def _lock(self, session: Session) -> Channel:
        while True:
            channel = await session.channel()
            try:
                await channel.queue_declare(queue=f"{self._queue}.lock", exclusive=True, auto_delete=True)
                await channel.basic_consume(f"{self._queue}.lock", _ignore)
            except ChannelLockedResource:
                await asyncio.sleep(RETRY)
            else:
                return channel  # whose end cancels the consumer, by which the queue is deleted

    async def _read(self, channel: Channel) -> list[DeliveredMessage]:
        found: list[DeliveredMessage] = []
        complete = asyncio.Event()
        count = await self._count(channel)

        async def receive(message: DeliveredMessage) -> None:
            found.append(message)
            if len(found) >= count:
                complete.set()

        if count:
            consuming = await channel.basic_consume(self._queue, receive)
            await complete.wait()
            await channel.basic_cancel(consuming.consumer_tag or "")
        return found

    async def _give_back(self, channel: Channel, left: int) -> None:
        """Return once the server shows the next reader again what this one leaves."""
        await channel.basic_nack(0, multiple=True)
        while await self._count(channel) < left:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(RETRY)

    async def _count(self, channel: Channel) -> int:
        declared = await channel.queue_declare(queue=self._queue, passive=True)
        return declared.message_count or 0


async def _ignore(_: DeliveredMessage) -> None:
    raise BrokerUnavailable("a lock carries no messages")
