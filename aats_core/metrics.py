"""Figures that the kernel keeps of itself: plain numbers, cheap to count, read only when somebody looks."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aats_core.broker import TopicStatus

BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Upper bounds of the latency buckets, in seconds; a last one has none."""


class Histogram:
    """Counts observations in seconds by the buckets of `BOUNDS`."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)


class HandlerFigures:
    """What an agent's message handlers did: how many `failed` or were given up (`dead`), how long it took."""

    __slots__ = ("dead", "failed", "latency")

    def __init__(self) -> None:
        self.failed = 0
        self.dead = 0
        self.latency = Histogram()

    @property
    def handled(self) -> int:
        """How many messages were handled, in whatever way it ended."""
        return self.latency.count


class BrokerFigures:
    """What went through the broker since the start: counts, and the seconds from a message's making to its delivery.

    `held` of what was delivered nobody has settled; `topics` holds what waited when somebody last looked.
    """

    __slots__ = (
        "acknowledged",
        "dead",
        "delivered",
        "held",
        "latency",
        "published",
        "redelivered",
        "returned",
        "topics",
    )

    def __init__(self) -> None:
        self.published = 0
        self.delivered = 0
        self.redelivered = 0
        self.acknowledged = 0
        self.returned = 0
        self.dead = 0
        self.held = 0
        self.latency = Histogram()
        self.topics: list[TopicStatus] = []


class StoreFigures:
    """What was asked of one store: how long each operation took, and how often it failed with which error."""

    __slots__ = ("failures", "latencies")

    def __init__(self) -> None:
        self.latencies: dict[str, Histogram] = {}
        self.failures: dict[tuple[str, str], int] = {}

    def latency(self, operation: str) -> Histogram:
        """Return the histogram of one operation, by its name in the contract."""
        found = self.latencies.get(operation)
        if found is None:
            found = self.latencies[operation] = Histogram()
        return found

    def count_failure(self, operation: str, error: str) -> None:
        """Count an operation that ended in an error of that class."""
        self.failures[operation, error] = self.failures.get((operation, error), 0) + 1
