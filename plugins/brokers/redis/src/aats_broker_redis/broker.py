"""The broker of a team whose messages lie in Redis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from aats_broker_redis.client import Client, Header
from aats_broker_redis.health import examine
from aats_broker_redis.letters import Letters
from aats_broker_redis.settings import RedisSettings
from aats_broker_redis.subscription import RedisSubscription
from aats_core.broker import Broker, DeadLetter, GroupStatus, TopicStatus
from aats_core.errors import BrokerError, BrokerUnavailable, InvalidRequest, MessageTooLarge
from aats_core.health import Health, HealthStatus
from aats_core.message import Message, encode
from aats_core.settings import TeamInfo

CHUNK = 200
"""Messages of one `publish_many` that travel together."""
PRIORITIES = 9

_TEAM = TeamInfo()


class RedisBroker(Broker):
    """Keeps messages in Redis streams, one for each priority of each group; scripts on the server move them.

    The keys of a team have its namespace as their hash tag, so that one script reaches all groups of a topic at once,
    also in a cluster.
    """

    Settings: ClassVar[type[RedisSettings]] = RedisSettings

    def __init__(self, settings: RedisSettings, info: TeamInfo = _TEAM) -> None:
        self.settings = settings
        self._root = f"aats:{{{info.namespace}}}:"
        self._client: Client | None = None

    async def connect(self) -> None:
        """Find the server; raises `BrokerUnavailable` where that takes longer than the timeout."""
        if self._client is None:
            client = Client(self.settings, self._root)
            await client.open()
            self._client = client

    async def close(self) -> None:
        """Leave all subscriptions, which ends their iteration, and disconnect."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        """Store a message for every group of its topic in one step; a repetition after a lost answer stores it once."""
        due = 0 if not_before is None else math.ceil(not_before * 1000)
        header, data = self._seal(topic, message, key, due)
        await self._connected.publish([header], [data])

    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        """Store messages in their order; where it raises, those before may have been accepted."""
        sealed = [self._seal(topic, message, key, 0) for message in messages]
        for start in range(0, len(sealed), CHUNK):
            headers, data = zip(*sealed[start : start + CHUNK], strict=True)
            await self._connected.publish(list(headers), list(data))

    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> RedisSubscription:
        """Return a consumer; raises `InvalidRequest` where it could never hold a message."""
        if prefetch < 1:
            raise InvalidRequest(f"{topic}: prefetch is {prefetch}, a consumer needs at least 1")
        return RedisSubscription(self._connected, topic, group, prefetch=prefetch, ephemeral=ephemeral)

    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        """Keep a message as a dead letter."""
        (_, _, priority, _), data = self._seal(topic, message, None, 0)
        await self._letters.add(topic, data, priority, reason=reason, attempts=attempts)

    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters of a topic or pattern, oldest first."""
        return await self._letters.of(topic)

    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        """Publish dead letters again, to every group of their topic; unknown ids are left out of the count."""
        if edited is None:
            return await self._letters.finish(topic, "replay", ids)
        if len(ids) != 1:
            raise InvalidRequest(f"{topic}: an edited message replaces one dead letter, {len(ids)} are named")
        (_, _, priority, _), data = self._seal(topic, edited, None, 0)
        return await self._letters.finish(topic, "replay", ids, data, priority)

    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        """Delete dead letters; unknown ids are left out of the count."""
        return await self._letters.finish(topic, "purge", ids)

    async def topics(self) -> list[TopicStatus]:
        """Return what the namespace holds."""
        client = self._connected
        topics, dead = await client.link.run("topics", until=client.until())
        groups = {topic.decode(): sorted(map(_status, found), key=lambda group: group.name) for topic, found in topics}
        counts = {topic.decode(): count for topic, count in dead}
        names = sorted({*groups, *counts})
        return [TopicStatus(name, tuple(groups.get(name, ())), counts.get(name, 0)) for name in names]

    async def health(self) -> Health:
        """Say whether there is a server, and which of its settings do not let it keep what it confirmed."""
        if self._client is None:
            return Health(HealthStatus.DOWN, _UNCONNECTED)
        link = self._client.link
        if link.trouble:
            return Health(HealthStatus.DOWN, link.trouble)
        try:
            replicas, until = self.settings.replicas, self._client.until()
            problems = await link.call(lambda client: examine(client, replicas), until=until, repeat=False)
        except BrokerError as error:
            return Health(HealthStatus.DOWN, str(error))
        return Health(HealthStatus.DEGRADED, "; ".join(problems)) if problems else Health()

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise BrokerUnavailable(_UNCONNECTED)
        return self._client

    @property
    def _letters(self) -> Letters:
        return Letters(self._connected, self._root)

    def _seal(self, topic: str, message: Message, key: str | None, due: int) -> tuple[Header, bytes]:
        data = encode(message)
        if len(data) > self.settings.max_message_bytes:
            raise MessageTooLarge(
                f"{topic}: the message {message.type!r} has {len(data)} bytes, the broker accepts"
                f" {self.settings.max_message_bytes} (max_message_bytes)"
            )
        priority = min(max(message.priority, 1), PRIORITIES)
        return (topic, "" if key is None else f"={key}", priority, due), data


def _status(found: list[Any]) -> GroupStatus:
    name, consumers, waiting, held = found
    return GroupStatus(name.decode(), consumers, waiting, held)


_UNCONNECTED = "the Redis broker is not connected: await connect() first"
