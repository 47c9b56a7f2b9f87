"""Messages for later: queues that hold what they get for a fixed time, and then send it on its way."""

from __future__ import annotations

import time
from typing import Any

from aats_broker_rabbitmq.link import Link
from aats_broker_rabbitmq.publisher import Publisher
from aats_broker_rabbitmq.session import Session, close_channel, translated
from aats_broker_rabbitmq.topology import DUE, FANOUT, QUORUM

SHORTEST = 0.1
"""Seconds: the first step; each further one is twice as long. All messages of a step wait equally long, so none of
them waits for one before it. What is due within less is kept by whoever consumes it."""
STEPS = 22


def step(wait: float) -> int:
    """Return the milliseconds of the longest step that is not longer than that, 0 where there is none."""
    found = 0
    for number in range(STEPS):
        if SHORTEST * 2**number > wait:
            break
        found = round(SHORTEST * 2**number * 1000)
    return found


class Delays:
    """Publishes messages by way of the queue of a step, which it makes when it is first needed."""

    def __init__(self, link: Link, publisher: Publisher, timeout: float) -> None:
        self._link = link
        self._publisher = publisher
        self._timeout = timeout

    async def publish(self, routing_key: str, body: bytes, headers: dict[str, Any] | None, due: float) -> None:
        """Publish a message that is due at a time: it goes through the longest step that ends before."""
        milliseconds = step(due - time.time())
        exchange = FANOUT
        if milliseconds:
            exchange = f"agent.delay.{milliseconds}"
            await self._declare(exchange, milliseconds)
        await self._publisher.publish(exchange, routing_key, body, headers)

    async def _declare(self, name: str, milliseconds: int) -> None:
        session = await self._link.ready(self._timeout)
        if name not in session.declared:
            async with translated(f"making the queue {name}"):
                await self._make(session, name, milliseconds)
            session.declared.add(name)

    async def _make(self, session: Session, name: str, milliseconds: int) -> None:
        channel = await session.channel()
        await channel.exchange_declare(exchange=name, exchange_type="fanout", durable=True)
        arguments = {
            **QUORUM,
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": DUE,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        await channel.queue_declare(queue=name, durable=True, arguments=arguments)
        await channel.queue_bind(queue=name, exchange=name)
        await close_channel(channel, self._timeout)
