"""Which topics there are, and making them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aats_broker_kafka.driver import BACKOFF, Driver, TopicPartition
from aats_broker_kafka.settings import KafkaSettings
from aats_core.broker import topic_matches
from aats_core.errors import BrokerUnavailable


class Topics:
    """Makes a topic when it is first needed, and tells other clients, whose patterns it may fit."""

    def __init__(self, settings: KafkaSettings, driver: Driver) -> None:
        self._settings = settings
        self._driver = driver
        self._known: set[str] = set()
        self._making = asyncio.Lock()
        self.announce: Callable[[str], Awaitable[None]] | None = None

    @property
    def control(self) -> str:
        """The topic through which the clients of one group share; its existence also marks that of groups."""
        return f"{self._settings.internal_prefix}.control"

    def dead(self, topic: str) -> str:
        """Return the topic of a topic's dead letters."""
        return f"{self._settings.internal_prefix}.dead.{topic}"

    async def ensure(self, topic: str) -> None:
        """Make a topic unless it exists."""
        if topic not in self._known:
            retention = str(int(self._settings.retention * 1000))
            if await self._make(topic, self._settings.partitions, {"retention.ms": retention}) and self.announce:
                await self.announce(topic)

    async def ensure_dead(self, topic: str) -> str:
        """Make the topic of a topic's dead letters unless it exists, and return its name."""
        retention = str(int(self._settings.retention * 1000))
        options = {"cleanup.policy": "compact,delete", "retention.ms": retention}
        await self._make(self.dead(topic), 1, options)
        return self.dead(topic)

    async def ensure_control(self) -> None:
        """Make the control topic unless it exists."""
        await self._make(self.control, 1, {"retention.ms": "600000", "segment.ms": "600000"})

    def exists(self, topic: str) -> bool:
        """Tell whether a topic is known to exist."""
        return topic in self._known

    def forget(self, topic: str) -> None:
        """Look again whether a topic exists, before it is next used."""
        self._known.discard(topic)

    def matching(self, pattern: str) -> list[TopicPartition]:
        """Return the partitions of all known topics that fit a pattern."""
        return [place for place in self.all() if topic_matches(pattern, place.topic)]

    def all(self) -> list[TopicPartition]:
        """Return the partitions of all known topics for messages."""
        internal = f"{self._settings.internal_prefix}."
        return sorted(
            TopicPartition(topic, partition)
            for topic, partitions in self._driver.topics().items()
            if not topic.startswith((internal, "__"))
            for partition in partitions
        )

    def known_dead(self, pattern: str = "") -> dict[str, str]:
        """Return the topics of dead letters that are known, by the topics that fit a pattern, or by all."""
        prefix = self.dead("")
        names = [name.removeprefix(prefix) for name in self._driver.topics() if name.startswith(prefix)]
        return {name: self.dead(name) for name in names if not pattern or topic_matches(pattern, name)}

    async def _make(self, topic: str, partitions: int, options: dict[str, str]) -> bool:
        if topic in self._known:
            return False
        async with self._making:
            new = False
            if not self._driver.topics().get(topic):
                options |= {
                    "min.insync.replicas": str(max(1, self._settings.replication_factor - 1)),
                    "max.message.bytes": str(self._settings.max_message_bytes + 4096),
                }
                new = await self._driver.create_topic(topic, partitions, options)
            await self._wait(topic)
            self._known.add(topic)
            return new

    async def _wait(self, topic: str) -> None:
        """Wait until every partition has a leader."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                while True:
                    numbers = self._driver.topics().get(topic, ())
                    if numbers and all(self._driver.leader(TopicPartition(topic, n)) is not None for n in numbers):
                        return
                    await self._driver.refresh()
                    await asyncio.sleep(BACKOFF / 5)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{topic}: the new topic got no leader in time") from error
