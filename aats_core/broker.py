"""The contract of a broker: it carries messages between agents, at least once, and keeps what nobody could handle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from aats_core.health import Health
from aats_core.message import Message


class Delivery(ABC):
    """One message in the hands of one consumer, until it is acknowledged, given back or rejected.

    `attempt` counts how often the message was handed out, this time included, and is 1 at first; it is counted
    before the handler runs, so a message that kills its consumer is counted too. Settling a delivery twice, or one
    whose lease is lost, takes the message from nobody else and raises nothing.
    """

    topic: str
    message: Message
    attempt: int

    @abstractmethod
    async def ack(self) -> None:
        """Say that the message is handled: it is never delivered to this group again."""

    @abstractmethod
    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        """Give the message back, to be delivered again after `delay` seconds.

        Where it has been handed out `max_attempts` times already, it goes to the dead-letter topic with `reason`.
        """

    @abstractmethod
    async def reject(self, *, reason: str) -> None:
        """Send the message to the dead-letter topic at once."""

    @abstractmethod
    async def extend(self) -> None:
        """Renew the lease, so that a handler that takes long keeps the message."""


class Subscription(ABC):
    """A consumer of one topic for one group: an async context manager and an async iterator of deliveries.

    The group exists from `__aenter__` on, and what is published later reaches it, also while it has no consumer.
    Leaving gives back at once what was delivered but not settled. Iteration waits through an outage of the broker,
    and ends when the broker is closed; cancelling the wait for a delivery loses none.
    """

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Register the consumer with the broker."""

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the consumer away from the broker."""

    def __aiter__(self) -> Self:
        """Return the subscription itself."""
        return self

    @abstractmethod
    async def __anext__(self) -> Delivery:
        """Wait for the next delivery; at most `prefetch` of them are out unsettled at any time."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that nobody could handle, with the reason, how often it was tried, and when (Unix seconds)."""

    id: str
    topic: str
    message: Message
    reason: str
    attempts: int
    time: float


class GroupStatus(msgspec.Struct, frozen=True):
    """A group: how many consumers it has, how many messages `wait` (delayed ones too), how many are held unsettled."""

    name: str
    consumers: int
    waiting: int
    held: int


class TopicStatus(msgspec.Struct, frozen=True):
    """A topic, or a pattern that groups subscribed to: its groups by name, and how many dead letters it has."""

    topic: str
    groups: tuple[GroupStatus, ...] = ()
    dead: int = 0


class Broker(ABC):
    """Carries messages. A subclass is built from its settings, does nothing before `connect`, and keeps these promises.

    1. `publish` returns once the broker has confirmed the write; while it is away, `publish` waits up to its
       timeout and then raises `BrokerUnavailable`, and the message was not accepted.
    2. At least once: what a consumer does not settle, because it died or its lease ran out, is delivered again.
    3. After `max_attempts` deliveries a message is in the dead letters of its topic, and can be replayed.
    4. Consumers of one group share the messages; every group gets every message. A topic to subscribe to may hold
       `*` for any one of its dot-separated words; a group belongs to that topic or pattern. An ephemeral group is
       its one consumer's own and ends with it, where that died no later than a lease afterwards.
    5. Messages of one topic with the same key reach a group in the order they were published: one is not delivered
       while an earlier one is unsettled, whatever their priorities.
    6. A waiting message of smaller `priority` number is delivered before one of a larger.
    7. A message with `not_before` is not delivered before that time (Unix seconds).
    8. A consumer holds at most `prefetch` unsettled deliveries; a slow one holds back no other, and the
       broker's client keeps a bounded number of messages in memory.
    9. After an outage of any length it reconnects by itself, and consumers go on.
    """

    in_process: ClassVar[bool] = False
    """Whether it only ever reaches this process, so that agents need no subscription to hear from others."""

    @abstractmethod
    async def connect(self) -> None:
        """Open what it needs; raises `BrokerUnavailable` where that fails within its timeout."""

    @abstractmethod
    async def close(self) -> None:
        """Send what is buffered and release everything; closing twice is harmless."""

    @abstractmethod
    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        """Hand over one message and wait for the broker's confirmation."""

    @abstractmethod
    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        """Hand over messages in order; returns when all are confirmed, raises when one may not be."""

    @abstractmethod
    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> Subscription:
        """Return a consumer of that topic (or pattern) for that group; it does nothing before it is entered."""

    @abstractmethod
    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        """Put a message among the dead letters of a topic without delivering it."""

    @abstractmethod
    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters of a topic (or pattern), oldest first."""

    @abstractmethod
    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        """Publish those dead letters of a topic again, with fresh attempts, and return how many there were.

        `edited` replaces the message of the one letter named. A letter leaves the dead letters only after its
        message is confirmed.
        """

    @abstractmethod
    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        """Delete those dead letters of a topic, or all of them, and return how many there were."""

    @abstractmethod
    async def topics(self) -> list[TopicStatus]:
        """Return every topic and pattern that has a group or dead letters, whoever made them, by name."""

    @abstractmethod
    async def health(self) -> Health:
        """Say whether the broker can be reached and keeps its promises as it is set up; never raises."""


def topic_matches(pattern: str, topic: str) -> bool:
    """Tell whether a topic fits a pattern, in which `*` stands for exactly one dot-separated word."""
    if "*" not in pattern:
        return pattern == topic
    wanted, words = pattern.split("."), topic.split(".")
    return len(wanted) == len(words) and all(want in ("*", word) for want, word in zip(wanted, words, strict=True))
