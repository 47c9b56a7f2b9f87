"""Waiting for one of a number of things, in the order of asking."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol


class Waiters(Protocol):
    """Where those who wait can be found by whoever may end their waiting: a set, or an `Expiry`."""

    def add(self, item: asyncio.Future[bool], /) -> None:
        """Remember someone who waits."""

    def discard(self, item: asyncio.Future[bool], /) -> object:
        """Forget someone who waits no longer."""


class Permits:
    """A number of permits; who finds none left waits for the next, first come, first served."""

    __slots__ = ("_waiting", "free")

    def __init__(self, free: int) -> None:
        self.free = free
        self._waiting: OrderedDict[asyncio.Future[bool], None] = OrderedDict()

    @property
    def exhausted(self) -> bool:
        """Whether the next to come would have to wait."""
        return not self.free

    def take_now(self) -> bool:
        """Take a permit if one is free, and tell whether it was."""
        if self.free:
            self.free -= 1
            return True
        return False

    async def take(self, waiters: Waiters) -> bool:
        """Take a permit, waiting for it if need be.

        Whoever finds the future among `waiters` may set it to False: then there is no permit, and False is returned.
        """
        if self.take_now():
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        waiters.add(future)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.result():
                self.put()  # it was handed over while its taker was being cancelled
            raise
        finally:
            self._waiting.pop(future, None)
            waiters.discard(future)

    def put(self) -> None:
        """Give a permit to whoever has waited longest, or keep it for the next to come."""
        while self._waiting:
            future, _ = self._waiting.popitem(last=False)
            if not future.done():
                future.set_result(True)
                return
        self.free += 1

    def release(self) -> None:
        """Give a permit to everyone who waits."""
        while self._waiting:
            self.put()
