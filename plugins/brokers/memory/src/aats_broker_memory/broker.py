"""The broker of a team that runs in one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from aats_broker_memory.exchange import Exchange
from aats_broker_memory.group import Group
from aats_broker_memory.settings import MemorySettings
from aats_broker_memory.subscription import MemorySubscription
from aats_core.broker import Broker, DeadLetter, TopicStatus
from aats_core.clock import Clock, RealClock
from aats_core.errors import BrokerUnavailable, InvalidRequest
from aats_core.health import Health, HealthStatus
from aats_core.message import Message

_REAL = RealClock()


class MemoryBroker(Broker):
    """Keeps every message in this process, and loses them with it.

    A group belongs to the topic or pattern it subscribed to and exists from then on; what is published to a topic
    without any group is gone. A message waits behind unsettled earlier ones of its topic and key, also while those
    are delayed. Settling a delivery whose lease is lost does nothing.
    """

    Settings: ClassVar[type[MemorySettings]] = MemorySettings

    in_process: ClassVar[bool] = True

    def __init__(self, settings: MemorySettings, clock: Clock = _REAL) -> None:
        self.settings = settings
        self.clock = clock
        self.exchange = Exchange(settings, clock)
        self._connected = False
        self._subscriptions: dict[MemorySubscription, None] = {}

    def sibling(self) -> Self:
        """Return another, unconnected client of the same messages, as a second process has of a server."""
        other = type(self)(self.settings, self.clock)
        other.exchange = self.exchange
        return other

    async def connect(self) -> None:
        """Begin; connecting twice is harmless."""
        if not self._connected:
            self._connected = True
            self.exchange.open()

    async def close(self) -> None:
        """Leave all subscriptions, which ends their iteration."""
        if self._connected:
            self._connected = False
            for subscription in list(self._subscriptions):
                subscription.end()
            await self.exchange.close()

    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        """Pass a message to every group of its topic, waiting up to the timeout while one of them is full."""
        if not self._connected:
            raise BrokerUnavailable(_UNCONNECTED)
        await self.exchange.publish(topic, message, key, not_before)

    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        """Pass on messages one by one; where it raises, those before may have been accepted."""
        for message in messages:
            await self.publish(topic, message, key=key)

    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> MemorySubscription:
        """Return a consumer; raises `InvalidRequest` where it could never hold a message."""
        if prefetch < 1:
            raise InvalidRequest(f"{topic}: prefetch is {prefetch}, a consumer needs at least 1")

        def join(subscription: MemorySubscription) -> Group:
            if not self._connected:
                raise BrokerUnavailable(_UNCONNECTED)
            self._subscriptions[subscription] = None
            joined = self.exchange.group(topic, group)
            joined.consumers += 1
            return joined

        def leave(subscription: MemorySubscription) -> None:
            self._subscriptions.pop(subscription, None)
            subscription.group.consumers -= 1
            if ephemeral:
                self.exchange.drop(subscription.group)

        return MemorySubscription(join, leave, self.exchange.leases, prefetch=prefetch)

    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        """Keep a message as a dead letter."""
        sealed = self.exchange.seal(topic, message)
        self.exchange.bury(topic, sealed, key=None, reason=reason, attempts=attempts)

    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters of a topic or pattern, oldest first."""
        return [kept.letter for kept in self.exchange.letters.of(topic)]

    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        """Publish dead letters again, to every group of their topic; unknown ids are left out of the count."""
        if edited is not None and len(ids) != 1:
            raise InvalidRequest(f"{topic}: an edited message replaces one dead letter, {len(ids)} are named")
        found = self.exchange.letters.of(topic, ids)
        for kept in found:
            await self.exchange.publish(kept.letter.topic, edited or kept.letter.message, kept.key, None)
            self.exchange.letters.remove(kept.letter)
        return len(found)

    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        """Delete dead letters; unknown ids are left out of the count."""
        found = self.exchange.letters.of(topic, ids)
        for kept in found:
            self.exchange.letters.remove(kept.letter)
        return len(found)

    async def topics(self) -> list[TopicStatus]:
        """Return what there is in this process."""
        return self.exchange.topics()

    async def health(self) -> Health:
        """Say which groups are full, and whether dead letters had to be dropped."""
        if not self._connected:
            return Health(HealthStatus.DOWN, _UNCONNECTED)
        full = [f"{group.name!r} of {group.topic}" for group in self.exchange.full()]
        if full:
            return Health(HealthStatus.DEGRADED, f"no room left in group {', '.join(full)}: are its consumers running?")
        if dropped := self.exchange.letters.dropped:
            return Health(HealthStatus.DEGRADED, f"{dropped} dead letters dropped: replay or purge those that are left")
        return Health()


_UNCONNECTED = "the memory broker is not connected: await connect() first"
