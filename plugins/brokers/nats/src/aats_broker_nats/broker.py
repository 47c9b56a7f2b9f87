"""The broker of teams that have NATS servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from aats_broker_nats.follower import Mailbox
from aats_broker_nats.group import Group
from aats_broker_nats.health import health
from aats_broker_nats.names import group_id
from aats_broker_nats.parts import parts_of
from aats_broker_nats.settings import NatsSettings
from aats_broker_nats.status import statuses
from aats_broker_nats.subscription import NatsSubscription
from aats_broker_nats.wire import OVERHEAD, headers
from aats_core.broker import Broker, DeadLetter, TopicStatus
from aats_core.errors import BrokerError, BrokerUnavailable, InvalidRequest, MessageTooLarge
from aats_core.health import Health, HealthStatus
from aats_core.message import Message, encode, new_id

IN_FLIGHT = 1000
"""Messages of one `publish_many` that are on their way at once."""


class NatsBroker(Broker):
    """Keeps messages in a stream of JetStream, one durable consumer a group.

    Of all clients that take part in a group, one pulls its messages and hands each to a consumer of one of them; it
    holds a lease, and another takes its place when it goes or dies. So order by key, priority and attempts hold
    across all consumers, which the server's own consumers do not offer.
    """

    Settings: ClassVar[type[NatsSettings]] = NatsSettings

    def __init__(self, settings: NatsSettings) -> None:
        self.settings = settings
        self._parts = parts_of(settings)
        self._mailbox = Mailbox(self._parts.connection)
        self._groups: dict[tuple[str, str], Group] = {}
        self._consumers: dict[NatsSubscription, Group] = {}
        self._joining = asyncio.Lock()
        self._connected = False
        self._renewing: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect to the first server that answers, and make the streams; connecting twice is harmless."""
        if self._connected:
            return
        await self._parts.connection.open()
        try:
            await self._parts.jetstream.set_up()
            await self._parts.publisher.start()
            await self._mailbox.open()
        except BaseException:
            await self._parts.connection.close()
            raise
        self._parts.connection.on_up.insert(0, self._renew)
        self._connected = True

    async def close(self) -> None:
        """Leave all subscriptions, which ends their iteration, and disconnect."""
        if not self._connected:
            return
        self._connected = False
        self._parts.connection.on_up.remove(self._renew)
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await asyncio.gather(*(subscription.end() for subscription in list(self._consumers)))
        await self._mailbox.close()
        await self._parts.publisher.stop()
        await self._parts.connection.close()

    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        """Write a message to the stream, again after an outage if need be, until the server confirms it.

        Where that takes longer than the timeout it raises `BrokerUnavailable`. The message is lost then, unless it was
        on its way as the connection broke.
        """
        data = self._encode(topic, message)
        await self._parts.publisher.publish(self._parts.names.message(topic), data, headers(key, not_before))

    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        """Write messages in order; where it raises, some of them may have been accepted."""
        self._check()
        subject, publish = self._parts.names.message(topic), self._parts.publisher.publish
        encoded = [self._encode(topic, message) for message in messages]
        for first in range(0, len(encoded), IN_FLIGHT):
            batch = encoded[first : first + IN_FLIGHT]
            await asyncio.gather(*(publish(subject, data, headers(key, None)) for data in batch))

    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> NatsSubscription:
        """Return a consumer; raises `InvalidRequest` where it could never hold a message."""
        if prefetch < 1:
            raise InvalidRequest(f"{topic}: prefetch is {prefetch}, a consumer needs at least 1")

        async def join(subscription: NatsSubscription) -> Group:
            self._check()
            async with self._joining:
                if ephemeral:
                    joined = await self._begin(topic, group, new_id(), prefetch)
                else:
                    joined = self._groups.get((topic, group)) or await self._begin(topic, group)
                    self._groups[topic, group] = joined
                joined.join(subscription)
                self._consumers[subscription] = joined
            return joined

        return NatsSubscription(join, self._leave, prefetch)

    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        """Keep a message as a dead letter."""
        self._check()
        await self._parts.letters.add(topic, message, key=None, reason=reason, attempts=attempts)

    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters of a topic or pattern, oldest first."""
        self._check()
        return [kept.letter for kept in await self._parts.letters.all(topic)]

    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        """Publish dead letters again, to every group of their topic; unknown ids are left out of the count."""
        if edited is not None and len(ids) != 1:
            raise InvalidRequest(f"{topic}: an edited message replaces one dead letter, {len(ids)} are named")
        self._check()
        return await self._parts.letters.replay(topic, ids, edited)

    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        """Delete dead letters; unknown ids are left out of the count."""
        self._check()
        return await self._parts.letters.purge(topic, ids)

    async def topics(self) -> list[TopicStatus]:
        """Return what the server and the owners of the groups tell."""
        self._check()
        return await statuses(self._parts)

    async def health(self) -> Health:
        """Say whether the servers can be reached, and whether they keep what they confirm."""
        if not self._connected:
            return Health(HealthStatus.DOWN, _UNCONNECTED)
        return await health(self._parts)

    def _renew(self) -> None:
        """Make the streams after an outage, for the case that a server came back without its data."""

        async def work() -> None:
            with suppress(BrokerError):  # the next connection tries again, and health tells until then
                await self._parts.jetstream.set_up()

        self._renewing = asyncio.get_running_loop().create_task(work())

    async def _begin(self, topic: str, group: str, nonce: str = "", prefetch: int = 0) -> Group:
        made = Group(group_id(topic, group, nonce), topic, group, self._parts, self._mailbox, ephemeral=prefetch)
        await made.start()
        return made

    async def _leave(self, subscription: NatsSubscription) -> None:
        group = self._consumers.pop(subscription, None)
        if group is None:
            return
        await group.leave(subscription)
        if not group.consumers:
            if self._groups.get((group.pattern, group.name)) is group:
                del self._groups[group.pattern, group.name]
            await group.stop()

    def _encode(self, topic: str, message: Message) -> bytes:
        self._check()
        data, limit = encode(message), self._parts.connection.max_payload - OVERHEAD
        if len(data) > limit:
            raise MessageTooLarge(
                f"{topic}: the message {message.type!r} has {len(data)} bytes, the server takes {limit}: keep large"
                " data in a store and send where it is, or raise `max_payload` in the server's configuration"
            )
        return data

    def _check(self) -> None:
        if not self._connected:
            raise BrokerUnavailable(_UNCONNECTED)


_UNCONNECTED = "the NATS broker is not connected: await connect() first"
