"""A message in the hands of whoever consumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aats_broker_rabbitmq.entry import Entry
from aats_core.broker import Delivery

if TYPE_CHECKING:
    from aats_broker_rabbitmq.subscription import RabbitSubscription


class RabbitDelivery(Delivery):
    """Held as long as the entry names it as its holder; an outage of the connection does not end that."""

    __slots__ = ("attempt", "consumer", "entry", "message", "topic")

    def __init__(self, entry: Entry, consumer: RabbitSubscription) -> None:
        self.topic = entry.topic
        self.message = entry.message
        self.attempt = entry.attempts
        self.entry = entry
        self.consumer = consumer

    async def ack(self) -> None:
        """Acknowledge the message; does nothing once the lease is lost."""
        if self.consumer.release(self):
            self.consumer.done(self.entry, handled=True)

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        """Give the message back; does nothing once the lease is lost."""
        if self.consumer.release(self):
            await self.consumer.returned(self.entry, delay, reason or f"given back {self.attempt} times")

    async def reject(self, *, reason: str) -> None:
        """Make a dead letter of the message; does nothing once the lease is lost."""
        if self.consumer.release(self):
            await self.consumer.bury(self.entry, reason)

    async def extend(self) -> None:
        """Start the lease again; does nothing once it is lost."""
        self.consumer.leases.renew(self)
