"""The groups that a broker object takes part in: one membership each, however many consumers there are."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from aats_broker_kafka.driver import BACKOFF
from aats_broker_kafka.group import Group
from aats_broker_kafka.offsets import create_group, delete_group
from aats_broker_kafka.settings import KafkaSettings
from aats_broker_kafka.site import Site
from aats_broker_kafka.subscription import KafkaSubscription
from aats_core.errors import BrokerError, BrokerUnavailable

EPHEMERAL = "!"


def group_id(group: str, pattern: str, *, ephemeral: bool = False) -> str:
    """Return what Kafka calls a group, which belongs to its topic or pattern."""
    return f"{group}@{pattern}{EPHEMERAL if ephemeral else ''}"


class Subscriptions:
    """Starts a group with its first consumer, and leaves it with the last."""

    def __init__(self, site: Site) -> None:
        self.settings: KafkaSettings = site.settings
        self._site = site
        self._groups: dict[str, Group] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._consumers: dict[KafkaSubscription, None] = {}

    async def join(self, consumer: KafkaSubscription) -> Group:
        """Make a consumer a part of its group."""
        name = group_id(consumer.group, consumer.topic, ephemeral=consumer.ephemeral)
        async with self._locks[name]:
            group = self._groups.get(name)
            if group is None:
                group = await self._start(name, consumer)
            group.add(consumer)
            self._consumers[consumer] = None
            return group

    async def leave(self, consumer: KafkaSubscription, group: Group) -> None:
        """Take back what a consumer holds."""
        self._consumers.pop(consumer, None)
        async with self._locks[group.name]:
            try:
                await group.remove(consumer)
            finally:
                if not group.consumers:
                    await self._stop(group, ephemeral=consumer.ephemeral)

    async def close(self) -> None:
        """Let all consumers leave, which ends their iteration."""
        await asyncio.gather(*(consumer.leave() for consumer in list(self._consumers)), return_exceptions=True)

    async def _start(self, name: str, consumer: KafkaSubscription) -> Group:
        site = self._site
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._create(name, consumer)
        except TimeoutError as error:
            raise BrokerUnavailable(f"group {name} could not be created in time") from error
        group = Group(site, name, consumer.topic)
        site.peers.join(group)
        try:
            await group.start()
        except BaseException:
            site.peers.leave(group)
            raise
        self._groups[name] = group
        return group

    async def _create(self, name: str, consumer: KafkaSubscription) -> None:
        """Make the topic and the group exist, trying until the server is ready."""
        topics, driver = self._site.topics, self._site.driver
        while True:
            try:
                if "*" not in consumer.topic:
                    await topics.ensure(consumer.topic)
                return await create_group(driver, topics, name, consumer.topic, anew=consumer.ephemeral)
            except BrokerUnavailable:
                await asyncio.sleep(BACKOFF)

    async def _stop(self, group: Group, *, ephemeral: bool) -> None:
        del self._groups[group.name]
        await group.stop()
        self._site.peers.leave(group)
        if ephemeral:
            try:
                async with asyncio.timeout(self.settings.timeout / 2):
                    await delete_group(self._site.driver, group.name)
            except (BrokerError, TimeoutError):
                pass  # it has no members, which is how others see that it has ended
