"""The broker as the team uses it, whatever plugin it is: its traffic is counted, and no lease runs out in a handler."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aats_core.broker import Broker, DeadLetter, Delivery, Subscription, TopicStatus
from aats_core.clock import Clock
from aats_core.errors import AatsError
from aats_core.health import Health
from aats_core.message import Message
from aats_core.metrics import BrokerFigures
from aats_core.topics import TeamTopics

LOOK_EVERY = 15.0
"""Seconds between two looks at what waits in the topics."""

log = logging.getLogger("aats.broker")


RENEWALS_PER_LEASE = 3


class TeamBroker(Broker):
    """Passes everything on to another broker, whose methods these are; `figures` holds what was counted.

    What was delivered and is not settled keeps its lease for as long as this process lives: a message that waits in a
    mailbox, or whose handler takes long, is not handed to somebody else meanwhile.
    """

    def __init__(self, inner: Broker, *, lease: float) -> None:
        self.inner = inner
        self._lease = lease
        self.in_process = inner.in_process  # type: ignore[misc] # what it is decides the inner one
        self.figures = BrokerFigures()
        self._held: set[_Delivery] = set()

    async def connect(self) -> None:
        """Connect."""
        await self.inner.connect()

    async def close(self) -> None:
        """Close."""
        await self.inner.close()

    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        """Publish, and count what was confirmed."""
        await self.inner.publish(topic, message, key=key, not_before=not_before)
        self.figures.published += 1

    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        """Publish, and count what was confirmed."""
        await self.inner.publish_many(topic, messages, key=key)
        self.figures.published += len(messages)

    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> Subscription:
        """Return a consumer whose deliveries are counted."""
        return _Subscription(
            self.inner.subscribe(topic, group, prefetch=prefetch, ephemeral=ephemeral), self.figures, self._held
        )

    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        """Put a message among the dead letters, and count it."""
        await self.inner.dead_letter(topic, message, reason=reason, attempts=attempts)
        self.figures.dead += 1

    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters."""
        return await self.inner.dead_letters(topic)

    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        """Publish dead letters again."""
        return await self.inner.replay(topic, ids, edited=edited)

    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        """Delete dead letters."""
        return await self.inner.purge(topic, ids)

    async def topics(self) -> list[TopicStatus]:
        """Return the topics."""
        return await self.inner.topics()

    async def health(self) -> Health:
        """Return the broker's health."""
        return await self.inner.health()

    async def look(self, topics: TeamTopics, clock: Clock) -> None:
        """Keep `figures.topics` up to date until cancelled; an outage leaves it as it was."""
        while True:
            try:
                self.figures.topics = await topics.status()
            except AatsError as error:
                log.info("what waits at the broker cannot be seen: %s", error)
            await clock.sleep(LOOK_EVERY)

    async def renew(self, clock: Clock) -> None:
        """Keep the leases of what is held until cancelled; where the broker is away they may run out."""
        while True:
            await clock.sleep(self._lease / RENEWALS_PER_LEASE)
            renewals = [delivery.extend() for delivery in self._held]
            failures = {
                str(end)
                for end in await asyncio.gather(*renewals, return_exceptions=True)
                if isinstance(end, Exception)
            }
            if failures:
                log.warning("leases could not be renewed, messages may be handled twice: %s", "; ".join(failures))


class _Subscription(Subscription):
    def __init__(self, inner: Subscription, figures: BrokerFigures, held: set[_Delivery]) -> None:
        self._inner = inner
        self._figures = figures
        self._held = held

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def __anext__(self) -> Delivery:
        delivery = await anext(self._inner)
        figures = self._figures
        figures.delivered += 1
        figures.redelivered += delivery.attempt > 1
        figures.latency.observe(max(0.0, time.time() - delivery.message.timestamp))
        figures.held += 1
        ours = _Delivery(delivery, figures, self._held)
        self._held.add(ours)
        return ours


class _Delivery(Delivery):
    __slots__ = ("_figures", "_held", "_inner", "attempt", "message", "topic")

    def __init__(self, inner: Delivery, figures: BrokerFigures, held: set[_Delivery]) -> None:
        self._inner = inner
        self._figures = figures
        self._held = held
        self.topic, self.message, self.attempt = inner.topic, inner.message, inner.attempt

    async def ack(self) -> None:
        await self._inner.ack()
        self._figures.acknowledged += self._settled()

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        await self._inner.nack(delay=delay, reason=reason)
        self._figures.returned += self._settled()

    async def reject(self, *, reason: str) -> None:
        await self._inner.reject(reason=reason)
        self._figures.dead += self._settled()

    async def extend(self) -> None:
        await self._inner.extend()

    def _settled(self) -> int:
        """Return 1 for the first time that it is settled; the others count for nothing."""
        if self not in self._held:
            return 0
        self._held.discard(self)
        self._figures.held -= 1
        return 1
