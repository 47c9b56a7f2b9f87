"""Time: the one place from which the kernel and its plugins read it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """Tells the time and waits for it, so that tests and simulations can run it themselves."""

    @abstractmethod
    def time(self) -> float:
        """Return the wall clock as seconds since the Unix epoch."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary zero."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds; zero or less yields once to the event loop."""


class RealClock(Clock):
    """The clock of the machine."""

    def time(self) -> float:
        """Return the machine's wall clock."""
        return time.time()

    def monotonic(self) -> float:
        """Return the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds on the event loop."""
        await asyncio.sleep(seconds)


class VirtualClock(Clock):
    """A clock that moves only when told to: `advance` wakes every sleeper whose time has come, in order."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def time(self) -> float:
        """Return the start time plus what has been advanced."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced by that many seconds."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time forward, letting each sleeper run at its own moment before time goes on."""
        end = self._elapsed + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, at)
            if not future.done():
                future.set_result(None)
            await settle()
        self._elapsed = end


async def settle(turns: int = 20) -> None:
    """Give every task that can run now the chance to, by yielding to the event loop that many times."""
    for _ in range(turns):
        await asyncio.sleep(0)
