"""How Kafka is, and what waits there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka.protocol.admin import DescribeGroupsRequest, ListGroupsRequest

from aats_broker_kafka.assignment import decode_claim
from aats_broker_kafka.driver import LATEST, TopicPartition
from aats_broker_kafka.offsets import committed
from aats_broker_kafka.partition import HELD, SETTLED, decode_note
from aats_broker_kafka.site import Site
from aats_broker_kafka.subscriptions import EPHEMERAL
from aats_core.broker import GroupStatus, TopicStatus
from aats_core.errors import BrokerError
from aats_core.health import Health, HealthStatus


async def health(site: Site) -> Health:
    """Say whether the cluster answers, and has as many brokers as every topic wants copies."""
    settings = site.settings
    servers = ", ".join(settings.servers)
    try:
        async with asyncio.timeout(settings.timeout):
            await site.driver.refresh()
    except (BrokerError, TimeoutError) as error:
        return Health(HealthStatus.DOWN, f"Kafka at {servers} does not answer, is it running? {error}")
    brokers = len(site.driver.cluster.brokers())
    if brokers < settings.replication_factor:
        return Health(
            HealthStatus.DEGRADED,
            f"{brokers} brokers for a replication_factor of {settings.replication_factor}: start those that are away",
        )
    if settings.replication_factor < 2:
        return Health(
            HealthStatus.OK, "one copy of each message (replication_factor): what is confirmed is lost with its broker"
        )
    return Health(HealthStatus.OK, f"{brokers} brokers at {servers}")


async def topics(site: Site) -> list[TopicStatus]:
    """Return all groups by their topics, and how many dead letters there are."""
    dead = await site.letters.counts()
    names = sorted(name for name in await _groups(site) if "@" in name)
    ends = await site.driver.offsets(site.topics.all(), LATEST)
    described = await asyncio.gather(*(_describe(site, name, ends) for name in names))
    groups: dict[str, list[GroupStatus]] = {}
    for name, status in zip(names, described, strict=True):
        if status is not None:
            groups.setdefault(name.rpartition("@")[2].removesuffix(EPHEMERAL), []).append(status)
    return [
        TopicStatus(topic, tuple(groups.get(topic, ())), dead.get(topic, 0))
        for topic in sorted({*groups, *(topic for topic, count in dead.items() if count)})
    ]


async def _groups(site: Site) -> set[str]:
    nodes = [broker.nodeId for broker in site.driver.cluster.brokers()]
    answers = await asyncio.gather(*(site.driver.send(node, ListGroupsRequest(), "list groups") for node in nodes))
    return {group[0] for answer in answers for group in answer.groups}


async def _describe(site: Site, name: str, ends: Mapping[TopicPartition, int]) -> GroupStatus | None:
    """Return the figures of a group; none where it has ended."""
    request = DescribeGroupsRequest([name], include_authorized_operations=False)
    answer = await site.driver.ask_coordinator(name, request, "describe a group")
    consumers = sum(_consumers(member) for member in answer.groups[0][5])
    if name.endswith(EPHEMERAL) and not consumers:
        return None
    group, _, pattern = name.rpartition("@")
    stored = await committed(site.driver, name)
    if TopicPartition(site.topics.control, 0) not in stored:
        return None
    waiting = held = 0
    for place in site.topics.matching(pattern.removesuffix(EPHEMERAL)):
        offset, note = stored.get(place, (0, ""))
        marks = decode_note(offset, note).marks.values()
        here = sum(mark != SETTLED and bool(mark & HELD) for mark in marks)
        held += here
        waiting += max(0, ends.get(place, offset) - offset) - sum(mark == SETTLED for mark in marks) - here
    return GroupStatus(group, consumers, waiting, held)


def _consumers(member: Any) -> int:
    metadata = next(field for field in member[3:] if isinstance(field, bytes))
    return decode_claim(metadata).consumers if metadata else 0
