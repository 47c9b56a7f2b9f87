"""The broker of a team that has a Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from aats_broker_kafka.driver import BACKOFF, Driver
from aats_broker_kafka.group import NOT_BEFORE
from aats_broker_kafka.lane import Headers
from aats_broker_kafka.letters import Letters
from aats_broker_kafka.peers import Peers
from aats_broker_kafka.producer import Producer
from aats_broker_kafka.settings import KafkaSettings
from aats_broker_kafka.site import Site
from aats_broker_kafka.status import health, topics
from aats_broker_kafka.subscription import KafkaSubscription
from aats_broker_kafka.subscriptions import Subscriptions
from aats_broker_kafka.topics import Topics
from aats_core.broker import Broker, DeadLetter, TopicStatus
from aats_core.errors import BrokerError, BrokerUnavailable, InvalidRequest, MessageTooLarge
from aats_core.health import Health, HealthStatus
from aats_core.message import Message, encode

if TYPE_CHECKING:
    from aats_broker_kafka.registry import Registry


class KafkaBroker(Broker):
    """Carries messages through the topics of a Kafka, and adds what Kafka has not: retries, delays, priority, sharing.

    The client that owns a partition for a group hands its messages out, to its own consumers or to other clients of
    the group, and notes with the committed offset what is settled and how often the rest was handed out.
    """

    Settings: ClassVar[type[KafkaSettings]] = KafkaSettings

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._site: Site | None = None
        self._registry: Registry | None = None
        self._producer: Producer
        self._subscriptions: Subscriptions

    async def connect(self) -> None:
        """Connect, and make the control topic where there is none; connecting twice is harmless."""
        if self._site is not None:
            return
        driver = Driver(self.settings)
        await driver.open()
        topics = Topics(self.settings, driver)
        self._producer = Producer(self.settings, driver.sibling(timeout=self.settings.timeout / 2))
        peers = Peers(self.settings, topics.control, self._producer, driver.sibling())
        try:
            async with asyncio.timeout(self.settings.timeout):
                await topics.ensure_control()
                await self._producer.open()
                await peers.start()
        except BaseException as error:
            await peers.close()
            await self._producer.close()
            await driver.close()
            if isinstance(error, TimeoutError):
                raise BrokerUnavailable("Kafka did not make the control topic in time") from error
            raise
        topics.announce = peers.announce
        if self.settings.registry is not None:
            from aats_broker_kafka.registry import Registry

            self._registry = Registry(self.settings.registry, self.settings.timeout)
        letters = Letters(driver, self._producer, topics)
        self._site = Site(self.settings, driver, topics, letters, peers)
        self._subscriptions = Subscriptions(self._site)

    async def close(self) -> None:
        """Leave all groups, send what is buffered, and close all connections."""
        site = self._site
        if site is not None:
            await self._subscriptions.close()
            self._site = None
            await site.peers.close()
            await self._producer.close()
            await site.driver.close()
            if self._registry is not None:
                await self._registry.close()

    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        """Write a message, and return once all replicas in sync have it."""
        data = self._encoded(topic, message)
        headers = [(NOT_BEFORE, repr(not_before).encode())] if not_before is not None else []
        if self._registry is not None:
            headers += await self._registry.check(topic, message, data)
        if not self._connected().topics.exists(topic):
            await self._ready(topic)
        try:
            await self._producer.send(topic, data, key=None if key is None else key.encode(), headers=headers)
        except BrokerError:
            self._connected().topics.forget(topic)
            raise

    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        """Write messages together; where it raises, some may have been accepted."""
        encoded = [self._encoded(topic, message) for message in messages]
        headers: list[Headers] = [[] for _ in messages]
        if self._registry is not None:
            checks = zip(messages, encoded, strict=True)
            headers = [await self._registry.check(topic, message, data) for message, data in checks]
        if encoded:
            await self._ready(topic)
            raw = None if key is None else key.encode()
            writes = zip(encoded, headers, strict=True)
            confirmed = [self._producer.send(topic, data, key=raw, headers=more) for data, more in writes]
            for outcome in await asyncio.gather(*confirmed, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    self._connected().topics.forget(topic)
                    raise outcome

    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> KafkaSubscription:
        """Return a consumer; raises `InvalidRequest` where it could never hold a message."""
        if prefetch < 1:
            raise InvalidRequest(f"{topic}: prefetch is {prefetch}, a consumer needs at least 1")
        self._connected()
        return KafkaSubscription(self._subscriptions, topic, group, prefetch=prefetch, ephemeral=ephemeral)

    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        """Write a dead letter."""
        await self._connected().letters.put(topic, message, None, reason, attempts)

    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters of a topic or pattern, oldest first."""
        return [kept.letter for kept in await self._connected().letters.find(topic)]

    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        """Publish dead letters again, to every group of their topic; unknown ids are left out of the count."""
        if edited is not None and len(ids) != 1:
            raise InvalidRequest(f"{topic}: an edited message replaces one dead letter, {len(ids)} are named")
        letters = self._connected().letters
        found = await letters.find(topic, ids)
        for kept in found:
            await self.publish(kept.letter.topic, edited or kept.letter.message, key=kept.key)
            await letters.remove(kept.letter)
        return len(found)

    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        """Delete dead letters; unknown ids are left out of the count."""
        letters = self._connected().letters
        found = await letters.find(topic, ids)
        for kept in found:
            await letters.remove(kept.letter)
        return len(found)

    async def topics(self) -> list[TopicStatus]:
        """Return what there is, whichever client made it."""
        return await topics(self._connected())

    async def health(self) -> Health:
        """Ask the cluster how it is."""
        if self._site is None:
            return Health(HealthStatus.DOWN, _UNCONNECTED)
        return await health(self._site)

    def _connected(self) -> Site:
        if self._site is None:
            raise BrokerUnavailable(_UNCONNECTED)
        return self._site

    def _encoded(self, topic: str, message: Message) -> bytes:
        data = encode(message)
        if len(data) > self.settings.max_message_bytes:
            raise MessageTooLarge(
                f"{topic}: the message {message.type!r} has {len(data)} bytes, the broker accepts"
                f" {self.settings.max_message_bytes} (max_message_bytes)"
            )
        return data

    async def _ready(self, topic: str) -> None:
        """Make sure that a topic exists, trying until the timeout."""
        topics = self._connected().topics
        if topics.exists(topic):
            return
        try:
            async with asyncio.timeout(self.settings.timeout):
                while True:
                    try:
                        await topics.ensure(topic)
                        break
                    except BrokerUnavailable:
                        await asyncio.sleep(BACKOFF)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{topic}: Kafka did not make the topic within {self.settings.timeout:g} s; nothing was accepted"
            ) from error


_UNCONNECTED = "the Kafka broker is not connected: await connect() first"
