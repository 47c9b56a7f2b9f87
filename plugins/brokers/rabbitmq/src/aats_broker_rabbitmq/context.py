"""What every consumer of one client works with."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from aats_broker_rabbitmq.delays import Delays
from aats_broker_rabbitmq.entry import KEY, TOPIC, Entry
from aats_broker_rabbitmq.link import Link
from aats_broker_rabbitmq.publisher import Publisher
from aats_broker_rabbitmq.settings import RabbitSettings
from aats_broker_rabbitmq.topology import DEAD
from aats_core.message import Message, encode, new_id

REASON, TRIED, TIME, LETTER = "aats-reason", "aats-tried", "aats-time", "aats-letter"
"""Headers of a dead letter: why, after how many deliveries, when (Unix seconds), and its id."""


class Context(NamedTuple):
    """The settings, the connection, and the ways to send something."""

    settings: RabbitSettings
    link: Link
    publisher: Publisher
    delays: Delays

    async def bury(self, entry: Entry, reason: str) -> None:
        """Make a dead letter of a message, and settle it."""
        await self.publisher.publish(
            DEAD, "", entry.body, letter_headers(entry.topic, entry.key, reason, entry.attempts)
        )
        entry.intake.settle(entry)

    async def bury_message(self, topic: str, message: Message, reason: str, attempts: int) -> None:
        """Make a dead letter of a message that was not delivered."""
        await self.publisher.publish(DEAD, "", encode(message), letter_headers(topic, None, reason, attempts))


def letter_headers(topic: str, key: str | None, reason: str, attempts: int) -> dict[str, Any]:
    """Return what stands beside a dead letter."""
    headers = {LETTER: new_id(), TOPIC: topic, REASON: reason, TRIED: attempts, TIME: str(time.time())}
    if key is not None:
        headers[KEY] = key
    return headers
