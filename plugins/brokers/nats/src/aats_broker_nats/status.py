"""What waits in every topic, and who consumes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from aats_broker_nats.parts import Parts
from aats_broker_nats.wire import Answer, Status, answers, encoder
from aats_core.broker import GroupStatus, TopicStatus
from aats_core.errors import BrokerUnavailable


async def statuses(parts: Parts) -> list[TopicStatus]:
    """Ask the server about every group and every dead letter, and the groups' owners what their consumers hold."""
    listed, dead = await asyncio.gather(parts.jetstream.consumers(), parts.letters.counts())
    named = [(told, name) for told in listed if (name := _name(told)) is not None]
    owners = await asyncio.gather(*(_ask(parts, told["name"]) for told, _ in named))
    groups: dict[str, list[GroupStatus]] = {}
    for (told, (topic, group)), answer in zip(named, owners, strict=True):
        waiting = max(0, told["num_pending"] + told["num_ack_pending"] - answer.held)
        groups.setdefault(topic, []).append(GroupStatus(group, answer.consumers, waiting, answer.held))
    return [
        TopicStatus(topic, tuple(sorted(groups.get(topic, ()), key=lambda found: found.name)), dead.get(topic, 0))
        for topic in sorted({*groups, *dead})
    ]


async def _ask(parts: Parts, group: str) -> Answer:
    try:
        raw = await parts.connection.request(
            parts.names.commands(group), encoder.encode([Status()]), timeout=parts.settings.timeout
        )
    except BrokerUnavailable:
        return Answer()  # nobody owns it: it has no consumer, or its owner died a moment ago
    found: Sequence[Answer] = answers.decode(raw)
    return found[0]


def _name(told: dict[str, Any]) -> tuple[str, str] | None:
    """Return the topic and name of a group that is one of ours."""
    try:
        topic, group = msgspec.json.decode(told["config"].get("description", ""), type=tuple[str, str])
    except msgspec.DecodeError:
        return None
    return topic, group
