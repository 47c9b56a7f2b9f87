"""A consumer, and what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aats_broker_memory.group import Entry, Group
from aats_broker_memory.permits import Permits
from aats_broker_memory.timers import Expiry
from aats_core.broker import Delivery, Subscription
from aats_core.errors import BrokerError

EVERY = 64
"""After so many calls that had nothing to wait for, others get a turn on the event loop."""


class MemoryDelivery(Delivery):
    """A message that a consumer holds for as long as its lease is among the leases."""

    def __init__(self, entry: Entry, consumer: MemorySubscription) -> None:
        self.topic = entry.topic
        self.message = entry.message
        self.attempt = entry.attempt
        self.entry = entry
        self.consumer = consumer

    async def ack(self) -> None:
        """Forget the message; does nothing once the lease is lost."""
        if self.consumer.release(self):
            self.consumer.group.finish(self.entry)

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        """Put the message back in its place; does nothing once the lease is lost."""
        if self.consumer.release(self):
            why = reason or f"given back {self.attempt} times"
            self.consumer.group.give_back(self.entry, delay=delay, reason=why)

    async def reject(self, *, reason: str) -> None:
        """Make a dead letter of the message; does nothing once the lease is lost."""
        if self.consumer.release(self):
            self.consumer.group.bury(self.entry, reason)

    async def extend(self) -> None:
        """Start the lease again; does nothing once it is lost."""
        self.consumer.leases.renew(self)

    def expire(self, lease: float) -> None:
        """Take the message, whose lease is over, from its consumer."""
        self.consumer.forget(self)
        reason = f"not settled within the lease of {lease:g} s"
        self.consumer.group.give_back(self.entry, delay=0.0, reason=reason)


class MemorySubscription(Subscription):
    """A consumer that takes each message from its group only when it is asked for one."""

    def __init__(
        self,
        join: Callable[[MemorySubscription], Group],
        leave: Callable[[MemorySubscription], None],
        leases: Expiry[MemoryDelivery],
        *,
        prefetch: int,
    ) -> None:
        self.group: Group
        self.leases = leases
        self._join = join
        self._leave = leave
        self._entered = self._open = False
        self._turns = 0
        self._slots = Permits(prefetch)
        self._waiting: set[asyncio.Future[bool]] = set()
        self._held: dict[MemoryDelivery, None] = {}

    async def __aenter__(self) -> Self:
        """Create the group if there is none yet."""
        self.group = self._join(self)
        self._entered = self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what is held."""
        self.end()

    async def __anext__(self) -> MemoryDelivery:
        """Take the most urgent message; the iteration ends once the subscription has been left."""
        self._turns += 1
        if not self._turns % EVERY:
            await asyncio.sleep(0)
        if not self._entered:
            raise BrokerError("a subscription has to be entered with `async with` before it delivers anything")
        if not (self._slots.take_now() or await self._slots.take(self._waiting)):
            raise StopAsyncIteration
        ready, taken = self.group.ready, False
        try:
            taken = self._open and (ready.take_now() or await ready.take(self._waiting))
        finally:
            if not taken:
                self._slots.put()
        if not self._open:
            if taken:  # it was left between the wake-up and now
                ready.put()
                self._slots.put()
            raise StopAsyncIteration
        delivery = MemoryDelivery(self.group.take(), self)
        self._held[delivery] = None
        self.leases.add(delivery)
        return delivery

    def release(self, delivery: MemoryDelivery) -> bool:
        """Take a delivery from this consumer, and tell whether it still held it."""
        if not self.leases.discard(delivery):
            return False
        self.forget(delivery)
        return True

    def forget(self, delivery: MemoryDelivery) -> None:
        """Make room for another delivery."""
        del self._held[delivery]
        self._slots.put()

    def end(self) -> None:
        """Give back what is held and end the iteration; ending twice is harmless."""
        if not self._open:
            return
        self._open = False
        self._leave(self)
        for future in list(self._waiting):
            if not future.done():
                future.set_result(False)
        for delivery in list(self._held):
            if self.release(delivery):
                self.group.give_back(delivery.entry, delay=0.0, reason="its consumer left without settling it")
