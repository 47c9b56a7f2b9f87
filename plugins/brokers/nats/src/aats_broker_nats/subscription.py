"""A consumer, and what it holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aats_broker_nats.seats import Seat
from aats_broker_nats.window import Entry
from aats_broker_nats.wire import Held
from aats_core.broker import Delivery, Subscription
from aats_core.errors import BrokerError
from aats_core.message import Message, new_id

if TYPE_CHECKING:
    from aats_broker_nats.group import Group

EVERY = 64
"""After so many calls that had nothing to wait for, others get a turn on the event loop."""


class NatsDelivery(Delivery):
    """A message that a consumer holds."""

    def __init__(self, claim: Held, message: Message, consumer: NatsSubscription) -> None:
        self.topic = claim.topic
        self.message = message
        self.attempt = claim.attempt
        self.claim = claim
        self._consumer = consumer

    async def ack(self) -> None:
        """Say that it is handled; does nothing once the lease is lost."""
        await self._consumer.settle(self, "ack")

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        """Give it back; does nothing once the lease is lost."""
        await self._consumer.settle(self, "nack", delay, reason)

    async def reject(self, *, reason: str) -> None:
        """Make a dead letter of it; does nothing once the lease is lost."""
        await self._consumer.settle(self, "reject", reason=reason or "rejected")

    async def extend(self) -> None:
        """Start the lease again; does nothing once it is lost."""
        await self._consumer.settle(self, "extend")


class NatsSubscription(Subscription):
    """A consumer that takes a message from its group only when it is asked for one."""

    def __init__(
        self,
        join: Callable[[NatsSubscription], Coroutine[Any, Any, Group]],
        leave: Callable[[NatsSubscription], Coroutine[Any, Any, None]],
        prefetch: int,
    ) -> None:
        self.id = new_id()
        self.prefetch = prefetch
        self.held: dict[int, NatsDelivery] = {}
        self.takers = 0
        self.arrived: deque[NatsDelivery] = deque()
        self._group: Group | None = None
        self._join = join
        self._leave = leave
        self._open = False
        self._turns = 0
        self._waiting: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        """Make the group if there is none yet, and take part in it."""
        self._open = True
        self._group = await self._join(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what is held."""
        await self.end()

    async def __anext__(self) -> NatsDelivery:
        """Take the most urgent message; the iteration ends once the subscription has been left."""
        if self._group is None:
            raise BrokerError("a subscription has to be entered with `async with` before it delivers anything")
        self._turns += 1
        if not self._turns % EVERY:
            await asyncio.sleep(0)
        self.takers += 1
        try:
            while self._open:
                if not self.arrived:
                    self._group.hungry()
                if self.arrived:
                    return self.arrived.popleft()
                await self._wait()
        finally:
            self.takers -= 1
        raise StopAsyncIteration

    def deliver(self, claim: Held, message: Message) -> None:
        """Take a message that is this consumer's now."""
        delivery = NatsDelivery(claim, message, self)
        self.held[claim.sequence] = delivery
        self.arrived.append(delivery)
        self.wake(1)

    def lose(self, sequence: int) -> None:
        """Forget a message whose lease ran out."""
        delivery = self.held.pop(sequence, None)
        if delivery is not None and delivery in self.arrived:
            self.arrived.remove(delivery)
        self.wake(1)

    async def settle(self, delivery: NatsDelivery, how: str, delay: float = 0.0, reason: str = "") -> None:
        """Be done with a delivery, or keep it longer."""
        if self._group is not None and self.held.get(delivery.claim.sequence) is delivery:
            await self._group.settle(self, delivery.claim, how, delay, reason)

    def seen(self) -> list[int]:
        """Return what is held and has been given to a handler."""
        unseen = {delivery.claim.sequence for delivery in self.arrived}
        return [sequence for sequence in self.held if sequence not in unseen]

    async def end(self) -> None:
        """Leave the group and end the iteration; ending twice is harmless."""
        if not self._open:
            return
        self._open = False
        self.wake(len(self._waiting))
        await self._leave(self)
        self.held.clear()
        self.arrived.clear()

    def wake(self, count: int) -> None:
        """Let so many of those who wait look again."""
        for future in list(self._waiting):
            if count <= 0:
                return
            if not future.done():
                future.set_result(None)
                count -= 1

    async def _wait(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class LocalSeat(Seat):
    """A consumer in the owner's own client, which gets a message only when it asks for one."""

    def __init__(self, subscription: NatsSubscription) -> None:
        super().__init__(subscription.id, subscription.prefetch)
        self._subscription = subscription

    def hungry(self) -> bool:
        """Whether someone waits for the next message, and may hold one more."""
        subscription = self._subscription
        return len(self.held) < self.prefetch and subscription.takers > len(subscription.arrived) + self.coming

    def deliver(self, entry: Entry[Seat]) -> None:
        """Hand it over."""
        assert entry.message is not None, "only what is in memory is handed out"
        claim = Held(entry.sequence, entry.attempt, entry.topic, entry.key, entry.reply)
        self._subscription.deliver(claim, entry.message)

    def lose(self, sequence: int) -> None:
        """Take it back."""
        self._subscription.lose(sequence)

    async def release(self) -> None:
        """Nothing has to be said within one client."""
