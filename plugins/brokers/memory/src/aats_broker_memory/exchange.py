"""What all clients of one memory broker share: groups, leases and dead letters."""

from __future__ import annotations

import asyncio
import itertools

from aats_broker_memory.group import Entry, Group
from aats_broker_memory.letters import DeadLetters
from aats_broker_memory.settings import MemorySettings
from aats_broker_memory.subscription import EVERY, MemoryDelivery
from aats_broker_memory.timers import Expiry, Timers
from aats_core.broker import DeadLetter, GroupStatus, TopicStatus, topic_matches
from aats_core.clock import Clock
from aats_core.errors import BrokerError, BrokerUnavailable, MessageTooLarge
from aats_core.message import Message, decode, encode

_ROUTES = 4096


class Exchange:
    """Passes each message to every group whose topic or pattern fits, and runs the time of what waits."""

    def __init__(self, settings: MemorySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._timers = Timers(clock)
        self._order = itertools.count()
        self._groups: dict[tuple[str, str], Group] = {}
        self._routes: dict[str, tuple[Group, ...]] = {}
        self._users = 0
        self._turns = 0
        self._publishers: Expiry[asyncio.Future[bool]] = Expiry(self._timers, clock, settings.timeout, _give_up)
        self.leases: Expiry[MemoryDelivery] = Expiry(
            self._timers, clock, settings.lease, lambda delivery: delivery.expire(settings.lease)
        )
        self.letters = DeadLetters(settings.max_dead_letters)

    def open(self) -> None:
        """Begin to serve a client."""
        self._users += 1
        if self._users == 1:
            self._timers.start()

    async def close(self) -> None:
        """Let a client go; with the last one time stands still, and whoever waits to publish waits in vain."""
        self._users -= 1
        if not self._users:
            self._publishers.expire_all()
            await self._timers.stop()

    def group(self, topic: str, name: str) -> Group:
        """Return a group, which exists and keeps what is published from the first time it is asked for."""
        found = self._groups.get((topic, name))
        if found is None:
            found = self._groups[topic, name] = Group(
                topic,
                name,
                capacity=self._settings.capacity,
                max_attempts=self._settings.max_attempts,
                timers=self._timers,
                clock=self._clock,
                bury=self._bury,
            )
            self._routes.clear()
        return found

    def drop(self, group: Group) -> None:
        """End a group; what it holds is gone, and nobody waits for room in it any longer."""
        self._groups.pop((group.topic, group.name), None)
        self._routes.clear()
        group.room.release()

    def topics(self) -> list[TopicStatus]:
        """Return the topics with their groups, by name."""
        groups: dict[str, list[GroupStatus]] = {}
        for (topic, _), group in sorted(self._groups.items()):
            groups.setdefault(topic, []).append(group.status())
        dead = self.letters.counts()
        return [TopicStatus(topic, tuple(groups.get(topic, ())), dead[topic]) for topic in sorted({*groups, *dead})]

    def full(self) -> list[Group]:
        """Return the groups that have no room left."""
        return [group for group in self._groups.values() if group.room.exhausted]

    async def publish(self, topic: str, message: Message, key: str | None, not_before: float | None) -> None:
        """Add a message to every group of its topic, or to none: waits while one has no room."""
        self._turns += 1
        if not self._turns % EVERY:
            await asyncio.sleep(0)
        message = self.seal(topic, message)
        groups = self._routes.get(topic)
        if groups is None:
            groups = self._route(topic)
        taken = 0
        try:
            for group in groups:
                if not group.room.take_now() and not await group.room.take(self._publishers):
                    raise BrokerUnavailable(
                        f"{topic}: group {group.name!r} of {group.topic} still held {self._settings.capacity} messages"
                        f" after {self._settings.timeout:g} s; the message was not accepted. Is its consumer running?"
                    )
                taken += 1
        except BaseException:
            for group in groups[:taken]:
                group.room.put()
            raise
        order = next(self._order)
        for group in groups:
            group.put(Entry(topic, message, key, not_before, order))

    def seal(self, topic: str, message: Message) -> Message:
        """Return the message as its receivers will see it, whatever the sender does to the payload afterwards."""
        data = encode(message)
        if len(data) > self._settings.max_message_bytes:
            raise MessageTooLarge(
                f"{topic}: the message {message.type!r} has {len(data)} bytes, the broker accepts"
                f" {self._settings.max_message_bytes} (max_message_bytes)"
            )
        return decode(data)

    def bury(self, topic: str, message: Message, *, key: str | None, reason: str, attempts: int) -> None:
        """Make a dead letter of a message."""
        letter = DeadLetter(self.letters.new_id(), topic, message, reason, attempts, self._clock.time())
        self.letters.add(letter, key)

    def _bury(self, entry: Entry, reason: str) -> None:
        self.bury(entry.topic, entry.message, key=entry.key, reason=reason, attempts=entry.attempt)

    def _route(self, topic: str) -> tuple[Group, ...]:
        if not topic or "*" in topic:
            raise BrokerError(f"{topic!r}: a message is published to one topic, not to a pattern")
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        groups = tuple(group for group in self._groups.values() if topic_matches(group.topic, topic))
        self._routes[topic] = groups
        return groups


def _give_up(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
