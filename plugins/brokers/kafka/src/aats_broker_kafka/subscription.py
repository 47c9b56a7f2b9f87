"""A consumer, and what it holds."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from aats_broker_kafka.deadlines import Deadlines
from aats_core.broker import Delivery, Subscription
from aats_core.errors import BrokerError
from aats_core.message import Message

if TYPE_CHECKING:
    from aats_broker_kafka.group import Group
    from aats_broker_kafka.partition import Entry
    from aats_broker_kafka.subscriptions import Subscriptions

log = logging.getLogger(__name__)

QUICK = 0.03
"""A consumer that comes back within so many seconds is handed several messages at a time."""


class Source(Protocol):
    """Who handed a message out, and settles it."""

    def ack(self, delivery: KafkaDelivery) -> Awaitable[None]:
        """Forget the message."""

    async def give_back(self, delivery: KafkaDelivery, *, delay: float, reason: str) -> None:
        """Take the message back, or bury it after its last attempt."""

    async def reject(self, delivery: KafkaDelivery, reason: str) -> None:
        """Bury the message."""

    async def extend(self, delivery: KafkaDelivery) -> None:
        """Begin the lease anew."""

    def expired(self, delivery: KafkaDelivery, *, taken: bool) -> None:
        """Take back a message whose lease is over; one that was not `taken` out of the buffer was not delivered."""

    def untaken(self, delivery: KafkaDelivery) -> None:
        """Take back a message that was not delivered after all."""


class KafkaDelivery(Delivery):
    """A message that a consumer holds until it is settled or the lease is over."""

    consumer: KafkaSubscription
    """Who holds it, among whose `leases` it is as long as that may settle it."""
    mine: Entry
    """The message in the partition, where this client owns that: only the group that handed it out asks for it."""

    def __init__(
        self,
        source: Source,
        topic: str,
        partition: int,
        offset: int,
        message: Message,
        attempt: int,
        entry: Entry | None = None,
    ) -> None:
        self.source = source
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.message = message
        self.attempt = attempt
        self.taken = False
        if entry is not None:
            self.mine = entry

    async def ack(self) -> None:
        """Return once it is stored that the message is handled; does nothing once the lease is lost."""
        if self._release():
            await self.source.ack(self)

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        """Give the message back; does nothing once the lease is lost."""
        if self._release():
            why = reason or f"given back {self.attempt} times"
            await self.source.give_back(self, delay=delay, reason=why)

    async def reject(self, *, reason: str) -> None:
        """Return once the message is a dead letter; does nothing once the lease is lost."""
        if self._release():
            await self.source.reject(self, reason)

    async def extend(self) -> None:
        """Start the lease again; does nothing once it is lost."""
        if self in self.consumer.leases:
            self.consumer.leases.renew(self)
            await self.source.extend(self)

    def drop(self) -> None:
        """Take the message from its consumer: it is not its any longer."""
        self._release()

    def expire(self) -> None:
        """Take the message, whose lease is over, from its consumer."""
        self.consumer.forget(self)
        self.source.expired(self, taken=self.taken)

    def _release(self) -> bool:
        held = self.consumer.leases.discard(self)
        if held:
            self.consumer.forget(self)
        return held


class KafkaSubscription(Subscription):
    """A consumer that is handed messages when it asks for them, and a few more where it comes back quickly."""

    client = ""
    """It is of this client."""

    def __init__(self, home: Subscriptions, topic: str, group: str, *, prefetch: int, ephemeral: bool) -> None:
        self.topic = topic
        self.group = group
        self.ephemeral = ephemeral
        self.leases: Deadlines[KafkaDelivery] = Deadlines(home.settings.lease, KafkaDelivery.expire)
        self._loop = asyncio.get_running_loop()
        self._home = home
        self._prefetch = prefetch
        self._joined: Group | None = None
        self._entered = self._open = False
        self._coming = 0
        self._ahead = 0
        self._last = 0.0
        self._buffer: deque[KafkaDelivery] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> Self:
        """Join the group, which is created where there is none yet."""
        self._joined = await self._home.join(self)
        self._entered = self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what is held, and leave."""
        await self.leave()

    async def leave(self) -> None:
        """Give back what is held, and leave; leaving twice is harmless."""
        joined, self._joined = self._joined, None
        if joined is not None:
            self._open = False
            self._wake_all()
            await self._home.leave(self, joined)

    async def __anext__(self) -> KafkaDelivery:
        """Wait for the next message; the iteration ends once the subscription has been left."""
        if not self._entered:
            raise BrokerError("a subscription has to be entered with `async with` before it delivers anything")
        now = self._loop.time()
        self._ahead = min(2 * self._ahead + 1, self._prefetch) if now - self._last < QUICK else 0
        while not self._buffer:
            if not self._open or self._joined is None:
                raise StopAsyncIteration
            future = self._loop.create_future()
            self._waiting.append(future)
            self._joined.wake()
            try:
                await future
            except asyncio.CancelledError:
                self._pass_on(future)
                raise
            now = self._loop.time()
        self._last = now
        delivery = self._buffer.popleft()
        delivery.taken = True
        if self._joined is not None and 2 * len(self._buffer) <= self._ahead:
            self._joined.wake()
        return delivery

    @property
    def want(self) -> int:
        """How many messages it can be handed now."""
        room = self._prefetch - len(self.leases) - self._coming
        return min(room, len(self._waiting) + self._ahead - len(self._buffer) - self._coming)

    @property
    def holding(self) -> bool:
        """Whether it holds any message."""
        return len(self.leases) + self._coming > 0

    def expect(self) -> None:
        """Keep room for a message that is about to come."""
        self._coming += 1

    def missed(self) -> None:
        """Say that what was about to come does not."""
        self._coming -= 1

    def put(self, delivery: KafkaDelivery) -> None:
        """Hand over a message that was expected."""
        self._coming -= 1
        if not self._open:
            delivery.source.untaken(delivery)
            return
        delivery.consumer = self
        self.leases.add(delivery)
        self._buffer.append(delivery)
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                break

    def forget(self, delivery: KafkaDelivery) -> None:
        """Make room for another message."""
        if not delivery.taken:
            self._buffer.remove(delivery)
        if self._joined is not None:
            self._joined.wake()

    async def give_back_all(self) -> None:
        """Give back everything, in no order: what was handed out counts, what only lay here does not."""
        for delivery in list(self.leases):
            delivery.drop()
            if delivery.taken:
                try:
                    await delivery.source.give_back(delivery, delay=0.0, reason="its consumer left without settling it")
                except BrokerError as error:
                    log.warning("%s: not given back, it comes again after its lease: %s", delivery.topic, error)
            else:
                delivery.source.untaken(delivery)

    def _pass_on(self, future: asyncio.Future[None]) -> None:
        """Wake another in place of one that was woken and then cancelled."""
        if future in self._waiting:
            self._waiting.remove(future)
        elif self._buffer and self._waiting:
            other = self._waiting.popleft()
            if not other.done():
                other.set_result(None)

    def _wake_all(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
