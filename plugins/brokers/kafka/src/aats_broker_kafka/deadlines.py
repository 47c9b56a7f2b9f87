"""Deadlines of many things that all have the same time: one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `expire` with each item that was added and neither discarded nor renewed for so many seconds."""

    def __init__(self, seconds: float, expire: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._items: dict[T, float] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return of how many items the time is running."""
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        """Iterate over these items, which must not change meanwhile."""
        return iter(self._items)

    def __contains__(self, item: T) -> bool:
        """Tell whether an item's time is running."""
        return item in self._items

    def add(self, item: T) -> None:
        """Start the time of an item."""
        self._items[item] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def discard(self, item: T) -> bool:
        """Forget an item, and tell whether its time was running."""
        return self._items.pop(item, None) is not None

    def renew(self, item: T) -> None:
        """Start the time of an item again."""
        if self.discard(item):
            self.add(item)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time() + 0.001
        while self._items:
            item, when = next(iter(self._items.items()))
            if when > now:
                self._timer = self._loop.call_at(when, self._look)
                return
            del self._items[item]
            self._expire(item)
