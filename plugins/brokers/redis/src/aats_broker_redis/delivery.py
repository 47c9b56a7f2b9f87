"""A message in the hands of a consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aats_core.broker import Delivery
from aats_core.message import decode

if TYPE_CHECKING:
    from aats_broker_redis.subscription import RedisSubscription

Entry = tuple[bytes, list[bytes]]
"""What a stream holds: an id, and the names and values of data, topic, key and attempts before this one."""
Fetched = tuple[str, Entry]
"""An entry with the level of its stream."""
Place = tuple[str, str]
"""A level and an id: where a message of a group lies. An id alone may stand in several streams."""


def place(level: str, entry: Entry) -> Place:
    """Return where an entry lies."""
    return level, entry[0].decode()


class RedisDelivery(Delivery):
    """A message that its consumer holds until it is settled, or its lease runs out at `expires` of the event loop."""

    __slots__ = ("_consumer", "attempt", "expires", "lane", "message", "place", "topic")

    def __init__(self, consumer: RedisSubscription, level: str, entry: Entry, expires: float) -> None:
        fields = entry[1]
        self._consumer = consumer
        self.place = place(level, entry)
        self.message = decode(fields[1])
        self.topic = fields[3].decode()
        self.lane = f"{self.topic}\0{fields[5].decode()}" if fields[5] else ""
        self.attempt = int(fields[7]) + 1
        self.expires = expires

    async def ack(self) -> None:
        """Delete the message for this group; does nothing once the lease is lost."""
        if self.lane:
            await self._consumer.settle(self, "next", self.lane)
        else:
            await self._consumer.settle(self, "done")

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        """Give the message back; does nothing once the lease is lost."""
        why = reason or f"given back {self.attempt} times"
        await self._consumer.settle(self, "back", round(delay * 1000), why)

    async def reject(self, *, reason: str) -> None:
        """Make a dead letter of the message; does nothing once the lease is lost."""
        await self._consumer.settle(self, "dead", reason)

    async def extend(self) -> None:
        """Start the lease again; does nothing once it is lost."""
        self._consumer.extend(self)
