"""Calls at a later time, all of them on one sleeping task."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from aats_core.clock import Clock

T = TypeVar("T")


class Timers:
    """Calls functions at given times of the clock; between `stop` and `start` the calls are kept and wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._sleeper: asyncio.Task[None] | None = None
        self._wakes_at = math.inf
        self._running = False

    def start(self) -> None:
        """Begin to call; needs the running event loop."""
        self._running = True
        self._arm()

    async def stop(self) -> None:
        """End the sleeping task."""
        self._running, self._wakes_at = False, math.inf
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            sleeper.cancel()
            with suppress(asyncio.CancelledError):
                await sleeper

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Call a function once the monotonic clock shows that time."""
        heapq.heappush(self._calls, (when, next(self._order), call))
        if when < self._wakes_at:
            self._arm()

    def _arm(self) -> None:
        if not self._running or not self._calls:
            return
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._wakes_at = self._calls[0][0]
        self._sleeper = asyncio.get_running_loop().create_task(self._sleep())

    async def _sleep(self) -> None:
        while self._calls:
            self._wakes_at = wakes_at = self._calls[0][0]
            rest = wakes_at - self._clock.monotonic()
            if rest > 0:
                await self._clock.sleep(rest)
            self._wakes_at = -math.inf  # what is called may add calls: this task sees them, none needs to wake it
            now = max(wakes_at, self._clock.monotonic())
            while self._calls and self._calls[0][0] <= now:
                heapq.heappop(self._calls)[2]()
        self._sleeper, self._wakes_at = None, math.inf


class Expiry(Generic[T]):
    """Calls a function with each item that is not discarded within a fixed time; adding and discarding cost O(1)."""

    def __init__(self, timers: Timers, clock: Clock, seconds: float, expired: Callable[[T], None]) -> None:
        self._timers = timers
        self._now = clock.monotonic
        self._seconds = seconds
        self._expired = expired
        self._ends: OrderedDict[T, float] = OrderedDict()
        self._rings_at: float | None = None

    def add(self, item: T) -> None:
        """Start the time of an item."""
        self._ends[item] = self._now() + self._seconds
        if self._rings_at is None:
            self._arm()

    def discard(self, item: T) -> bool:
        """Forget an item, and tell whether it was still there."""
        return self._ends.pop(item, None) is not None

    def renew(self, item: T) -> None:
        """Start the time of an item again, if it is still there."""
        if item in self._ends:
            self._ends[item] = self._now() + self._seconds
            self._ends.move_to_end(item)

    def expire_all(self) -> None:
        """Let every item's time be over now."""
        while self._ends:
            self._expired(self._ends.popitem(last=False)[0])

    def _arm(self) -> None:
        self._rings_at = next(iter(self._ends.values()), None)
        if self._rings_at is not None:
            self._timers.call_at(self._rings_at, self._ring)

    def _ring(self) -> None:
        now = max(self._now(), self._rings_at or 0.0)
        while self._ends and next(iter(self._ends.values())) <= now:
            self._expired(self._ends.popitem(last=False)[0])
        self._arm()
