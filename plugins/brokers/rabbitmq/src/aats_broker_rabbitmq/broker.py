"""The broker of a team that talks over RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import ClassVar

from aats_broker_rabbitmq.census import Census, Count
from aats_broker_rabbitmq.context import Context
from aats_broker_rabbitmq.delays import Delays
from aats_broker_rabbitmq.entry import KEY, with_due
from aats_broker_rabbitmq.letters import DeadLetters
from aats_broker_rabbitmq.link import Link
from aats_broker_rabbitmq.publisher import Publisher
from aats_broker_rabbitmq.session import Session, translated
from aats_broker_rabbitmq.settings import RabbitSettings
from aats_broker_rabbitmq.source import GroupSource, OwnSource
from aats_broker_rabbitmq.subscription import RabbitSubscription
from aats_broker_rabbitmq.topology import DEAD, FANOUT, check_topic, route
from aats_core.broker import Broker, DeadLetter, TopicStatus
from aats_core.errors import BrokerError, InvalidRequest, MessageTooLarge
from aats_core.health import Health, HealthStatus
from aats_core.message import Message, encode

log = logging.getLogger(__name__)


class RabbitBroker(Broker):
    """Keeps messages in quorum queues: one for each of three bands of priority, and one for those with a key.

    Attempts are counted by the server where a consumer dies, and by its client wherever that is still there to do it.
    """

    Settings: ClassVar[type[RabbitSettings]] = RabbitSettings

    def __init__(self, settings: RabbitSettings) -> None:
        self.settings = settings
        link = Link(settings, self._up, self._down)
        publisher = Publisher(link, settings.timeout)
        self._context = Context(settings, link, publisher, Delays(link, publisher, settings.timeout))
        self._letters = DeadLetters(self._context)
        self._census = Census(self._context, self._counts)
        self._subscriptions: dict[RabbitSubscription, None] = {}

    async def connect(self) -> None:
        """Connect to the first node that answers; connecting twice is harmless. Bad TLS files are a `SettingsError`."""
        self.settings.tls.context()
        await self._context.link.open()

    async def close(self) -> None:
        """Give back what is held, wait for what is being published, and leave."""
        if self._context.link.opened:
            for subscription in list(self._subscriptions):
                await subscription.leave()
            await self._context.publisher.drain()
            await self._context.link.close()

    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        """Send a message to every group of its topic, and return once the server has it on disk."""
        routing_key, body = self._prepared(topic, message, key)
        headers = {} if key is None else {KEY: key}
        if not_before is None or not_before <= time.time():
            return await self._context.publisher.publish(FANOUT, routing_key, body, headers)
        with_due(headers, not_before)
        if key is None:
            return await self._context.delays.publish(routing_key, body, headers, not_before)
        return await self._context.publisher.publish(FANOUT, routing_key, body, headers)

    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        """Send messages in order; where it raises, those before may have been accepted."""
        headers = None if key is None else {KEY: key}
        outgoing = [(FANOUT, *self._prepared(topic, message, key), headers) for message in messages]
        await self._context.publisher.publish_all(outgoing)

    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> RabbitSubscription:
        """Return a consumer; raises `InvalidRequest` where it could never hold a message."""
        if prefetch < 1:
            raise InvalidRequest(f"{topic}: prefetch is {prefetch}, a consumer needs at least 1")
        check_topic(topic.replace("*", "x"))
        kind = OwnSource if ephemeral else GroupSource
        return RabbitSubscription(
            self._context,
            kind(self._context, topic, group),
            prefetch=prefetch,
            entered=lambda subscription: self._subscriptions.__setitem__(subscription, None),
            left=lambda subscription: self._subscriptions.pop(subscription, None),
        )

    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        """Keep a message as a dead letter."""
        check_topic(topic)
        await self._context.bury_message(topic, message, reason, attempts)

    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters of a topic or pattern, oldest first."""
        return await self._letters.of(topic)

    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        """Publish dead letters again, to every group of their topic; unknown ids are left out of the count."""
        return await self._letters.replay(topic, ids, edited)

    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        """Delete dead letters; unknown ids are left out of the count."""
        return await self._letters.purge(topic, ids)

    async def topics(self) -> list[TopicStatus]:
        """Return what the server and the other clients tell; messages for later are not among those that wait."""
        groups = await self._census.take()
        dead: dict[str, int] = {}
        for letter in await self._letters.all():
            dead[letter.topic] = dead.get(letter.topic, 0) + 1
        names = sorted({topic for topic, _ in groups} | set(dead))
        return [
            TopicStatus(name, tuple(groups[place] for place in sorted(groups) if place[0] == name), dead.get(name, 0))
            for name in names
        ]

    async def health(self) -> Health:
        """Ask the server for something small, and say what is wrong where it does not answer."""
        session = self._context.link.session
        if session is None or not session.alive:
            return Health(HealthStatus.DOWN, f"{self._context.link.problem}: does it run, and may this client connect?")
        try:
            async with asyncio.timeout(self.settings.timeout), translated(session.address):
                channel = await session.channel()
                declared = await channel.queue_declare(queue=DEAD, passive=True)
                await channel.close()
        except (BrokerError, TimeoutError) as error:
            return Health(HealthStatus.DOWN, f"{error or 'no answer in time'}: is RabbitMQ overloaded or blocked?")
        if (declared.message_count or 0) >= self.settings.max_dead_letters:
            return Health(
                HealthStatus.DEGRADED, "no room for dead letters, the oldest are dropped: replay or purge some"
            )
        return Health()

    def _prepared(self, topic: str, message: Message, key: str | None) -> tuple[str, bytes]:
        check_topic(topic)
        body = encode(message)
        if len(body) > self.settings.max_message_bytes:
            raise MessageTooLarge(
                f"{topic}: the message {message.type!r} has {len(body)} bytes, the broker accepts"
                f" {self.settings.max_message_bytes} (max_message_bytes)"
            )
        return route(topic, message.priority, key), body

    async def _up(self, session: Session) -> None:
        try:
            await self._census.answer(session)
            for subscription in list(self._subscriptions):
                await subscription.resume(session)
        except BrokerError as error:
            log.warning("%s: %s", session.address, error)
            session.abort()

    def _down(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.lose()

    def _counts(self) -> list[Count]:
        return [subscription.count() for subscription in self._subscriptions]
