"""A channel on which queues hand this client their messages, and on which it settles them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from aats_broker_rabbitmq import frames
from aats_broker_rabbitmq.entry import TOPIC, Entry
from aats_broker_rabbitmq.session import Session, close_channel, translated
from aats_core.errors import InvalidPayload
from aats_core.message import decode, unreadable

FENCES = 8
"""How often a queue that is too busy to answer is asked again; the server itself waits a quarter of a second for it."""


class Intake:
    """Consumes from queues on one channel; `sole` where nobody else gets their messages meanwhile.

    Acknowledgements of one turn of the event loop are sent together.
    """

    def __init__(self, session: Session, *, sole: bool, arrived: Callable[[Entry], None]) -> None:
        self.session = session
        self.sole = sole
        self.channel: Channel
        self.unsettled: dict[int, Entry] = {}
        self.seen = 0
        self.open = self.muted = False
        self._arrived = arrived
        self._acks: set[int] = set()
        self._queues: dict[str, str] = {}
        self._expected = 0
        self._complete = asyncio.Event()

    async def start(self, ended: Callable[[Intake], None]) -> None:
        """Open the channel; `ended` is called where it ends by itself."""
        self.channel = await self.session.channel()
        self.open = True

        def end(_: object) -> None:
            if self.open:
                self.open = False
                ended(self)

        self.channel.closing.add_done_callback(end)
        self.channel.on_consumer_cancel_callbacks.add(end)

    async def consume(self, queue: str, prefetch: int) -> None:
        """Let a queue send messages, so many before any is settled."""
        await self.channel.basic_qos(prefetch_count=min(prefetch, 65_535))
        consuming = await self.channel.basic_consume(queue, self._deliver)
        self._queues[consuming.consumer_tag or ""] = queue

    def held(self) -> bool:
        """Tell whether someone has a message of it in hand."""
        return any(entry.holder is not None for entry in self.unsettled.values())

    def settle(self, entry: Entry) -> None:
        """Acknowledge a message."""
        if self.unsettled.pop(entry.tag, None) is None or not self.open:
            return
        if not self._acks:
            asyncio.get_running_loop().call_soon(self.flush)
        self._acks.add(entry.tag)

    def flush(self) -> None:
        """Send the acknowledgements that were collected."""
        if not self._acks:
            return
        acks, self._acks = self._acks, set()
        if self.open:
            first = next(iter(self.unsettled), None)
            upto = max((tag for tag in acks if first is None or tag < first), default=0)
            single = [tag for tag in acks if tag > upto]
            self.session.write(frames.settle(self.channel.number, upto, single))

    async def see(self, count: int, timeout: float) -> None:
        """Wait until so many messages have come, or it seems that others got them."""
        self._expected = count
        if self.seen < count:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._complete.wait()

    async def stop(self) -> None:
        """Let no more messages come; what is unsettled stays with this client.

        The server takes back what is on its way at that moment, and counts it as delivered: so all of it comes first.
        """
        await self.catch_up()
        async with translated("leaving a queue"):
            for tag in self._queues:
                await self.channel.basic_cancel(tag)
        self._queues.clear()

    async def catch_up(self) -> None:
        """Return once everything has come that the server had given to this client before."""
        async with translated("catching up"):
            for queue in self._queues.values():
                await self._ask(queue)  # answers the channel after what it sent there before
            await self.channel.basic_qos(prefetch_count=0)  # any call will do: the channel answers it after that

    async def has_company(self) -> bool:
        """Tell whether others consume from the same queues."""
        async with translated("looking for other consumers"):
            return any([await self._ask(queue) > 1 for queue in self._queues.values()])

    async def _ask(self, queue: str) -> int:
        """Return how many consume from a queue."""
        for _ in range(FENCES):
            declared = await self.channel.queue_declare(queue=queue, passive=True)
            if declared.consumer_count:
                return declared.consumer_count
        return 0  # nobody, where this client consumes, is what the server says when the queue did not answer it

    async def close(self, timeout: float) -> None:
        """Close the channel, which hands back what is unsettled."""
        self.flush()
        self.open = False
        await close_channel(self.channel, timeout)

    async def _deliver(self, delivered: DeliveredMessage) -> None:
        properties: Any = delivered.header.properties
        headers = properties.headers or {}
        routing_key, tag = delivered.routing_key or "", delivered.delivery_tag or 0
        self.seen += 1
        fault = ""
        try:
            message = decode(delivered.body)
        except InvalidPayload as error:
            message, fault = unreadable(delivered.body), f"it cannot be read: {error}"
        entry = Entry(self, tag, headers.get(TOPIC) or routing_key[2:], message, delivered.body)
        entry.fault = fault
        if headers:
            entry.read(headers)
        self.unsettled[tag] = entry
        if not self.muted:
            self._arrived(entry)
        if self.seen == self._expected:
            self._complete.set()
