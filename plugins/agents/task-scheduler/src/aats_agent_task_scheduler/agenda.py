"""What has to be looked at again at some later time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    """Keeps items by the time (seconds) at which each is due; nothing leaves before that."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def add(self, time: float, item: T) -> None:
        """Have that item come up at that time."""
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, item))

    def next(self) -> float | None:
        """Return when the next item is due."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[T]:
        """Take out and yield what is due, earliest first."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]
