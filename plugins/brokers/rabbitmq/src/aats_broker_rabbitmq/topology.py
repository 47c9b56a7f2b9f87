"""The exchanges, queues and routing keys: what stands where on the server."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, NamedTuple

from aiormq.channel import Channel

from aats_broker_rabbitmq.settings import RabbitSettings
from aats_core.errors import BrokerError

FANOUT = "agent.fanout"
"""Where everything is published; it passes on to the two that follow."""
DIRECT = "agent.direct"
"""Routes to the groups of that very topic."""
TOPIC = "agent.topic"
"""Routes to the groups of patterns."""
DUE = "agent.due"
"""Where delayed messages come back from; everything it gets also goes to `SINK`, so that nothing is unroutable."""
SINK = "agent.sink"
DEAD = "agent.dead"
"""The exchange and the queue of dead letters."""
GROUPS = "agent.groups"
"""The queue that remembers which groups there are."""
CENSUS = "agent.census"
"""Asks every client what it holds."""

KEYED = "k"
BANDS = {"urgent": "u", "normal": "n", "low": "l"}
"""The queues of a group for messages without a key, most urgent first, and what their routing keys begin with."""
LONGEST = 255
MANY = 2**31 - 1
_NAME = re.compile(r"[a-zA-Z0-9_.:@#/-]{1,254}")
"""What a queue may be called; `#` stands for the `*` of a pattern, which the driver does not allow."""
QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


def band(priority: int) -> str:
    """Return the band of a priority: 1 to 4, 5, or 6 to 9."""
    return "u" if priority < 5 else "n" if priority == 5 else "l"


def route(topic: str, priority: int, key: str | None) -> str:
    """Return the routing key of a message."""
    return f"{KEYED if key is not None else band(priority)}.{topic}"


def check_topic(topic: str) -> None:
    """Refuse a topic that nothing can be published to."""
    if not topic or "*" in topic or "#" in topic:
        raise BrokerError(f"{topic!r}: a message is published to one topic, not to a pattern")
    if len(topic.encode()) > LONGEST - 2:
        raise BrokerError(f"{topic[:40]}…: a topic has at most {LONGEST - 2} bytes on RabbitMQ")


class GroupQueues(NamedTuple):
    """The queues of one group: one a band, and one for messages with a key."""

    topic: str
    group: str

    @property
    def bands(self) -> dict[str, str]:
        """The names of the queues for messages without a key, most urgent first, by their letter."""
        return {letter: self._name(name) for name, letter in BANDS.items()}

    @property
    def keyed(self) -> str:
        """The name of the queue for messages with a key."""
        return self._name("keyed")

    @property
    def notes(self) -> str:
        """The name of the queue in which one consumer of keyed messages tells the next what it has to know."""
        return self._name("notes")

    def _name(self, part: str) -> str:
        name = f"{self.topic.replace('*', '#')}/{self.group}.{part}"
        if _NAME.fullmatch(name):
            return name
        return f"{blake2b(f'{self.topic}/{self.group}'.encode(), digest_size=16).hexdigest()}.{part}"


def direct_to(queue: str) -> str:
    """Return the routing key that leads to that one queue."""
    return f"={queue}"


async def declare(channel: Channel, settings: RabbitSettings) -> None:
    """Make sure that all that groups share exists."""
    for exchange, kind in ((FANOUT, "fanout"), (DIRECT, "direct"), (TOPIC, "topic"), (DUE, "fanout"), (DEAD, "fanout")):
        await channel.exchange_declare(exchange=exchange, exchange_type=kind, durable=True)
    await channel.exchange_declare(exchange=CENSUS, exchange_type="fanout", durable=True)
    for source, destination in ((FANOUT, DIRECT), (FANOUT, TOPIC), (DUE, FANOUT)):
        await channel.exchange_bind(destination=destination, source=source)
    await channel.queue_declare(queue=SINK, durable=True, arguments={**QUORUM, "x-max-length": 0})
    await channel.queue_bind(queue=SINK, exchange=DUE)
    kept = {**QUORUM, "x-delivery-limit": MANY}
    await channel.queue_declare(queue=DEAD, durable=True, arguments={**kept, "x-max-length": settings.max_dead_letters})
    await channel.queue_bind(queue=DEAD, exchange=DEAD)
    await channel.queue_declare(queue=GROUPS, durable=True, arguments={**kept, "x-max-length": 100_000})


async def declare_group(channel: Channel, queues: GroupQueues, settings: RabbitSettings) -> dict[str, int]:
    """Make sure that a group exists, and return how many messages wait in each of its queues."""
    arguments: dict[str, Any] = {
        **QUORUM,
        "x-delivery-limit": settings.delivery_limit,
        "x-dead-letter-exchange": DEAD,
    }
    if settings.group_expires is not None:
        arguments["x-expires"] = round(settings.group_expires * 1000)
    exchange = TOPIC if "*" in queues.topic else DIRECT
    waiting = {}
    for letter, queue in (*queues.bands.items(), (KEYED, queues.keyed)):
        more = {"x-single-active-consumer": True} if letter == KEYED else {}
        declared = await channel.queue_declare(queue=queue, durable=True, arguments={**arguments, **more})
        waiting[queue] = declared.message_count or 0
        await channel.queue_bind(queue=queue, exchange=exchange, routing_key=f"{letter}.{queues.topic}")
        await channel.queue_bind(queue=queue, exchange=DIRECT, routing_key=direct_to(queue))
    return waiting
