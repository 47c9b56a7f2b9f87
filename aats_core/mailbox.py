"""A mailbox: what waits for an agent, in order, bounded so that senders wait when the agent does not keep up."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue with several takers, the agent's replicas, that wakes exactly one for each item."""

    __slots__ = ("_idle", "_items", "_limit", "_senders")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._senders: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def idle(self) -> bool:
        """Whether a taker waits."""
        return bool(self._idle)

    def offer(self, item: T) -> bool:
        """Put an item in and return True, or return False where the mailbox is full."""
        if len(self._items) >= self._limit:
            return False
        self.force(item)
        return True

    def force(self, item: T) -> None:
        """Put an item in even where the mailbox is full: for what was accepted once before."""
        self._items.append(item)
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def put(self, item: T) -> None:
        """Put an item in, waiting while the mailbox is full."""
        while not self.offer(item):
            waiter = asyncio.get_running_loop().create_future()
            self._senders.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    self._admit()
                raise

    def take(self) -> T:
        """Return the oldest item; raises `IndexError` where there is none."""
        item = self._items.popleft()
        if self._senders:
            self._admit()
        return item

    async def wait(self) -> None:
        """Wait for an item to take."""
        while not self._items:
            waiter = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._pass_on(waiter)
                raise

    def _pass_on(self, waiter: asyncio.Future[None]) -> None:
        """Wake another taker for the item that this one was woken for and cannot take any more."""
        if not waiter.cancelled() and self._items:
            for other in self._idle:
                if not other.done():
                    other.set_result(None)
                    return
        elif waiter in self._idle:
            self._idle.remove(waiter)

    def _admit(self) -> None:
        while self._senders:
            sender = self._senders.popleft()
            if not sender.done():
                sender.set_result(None)
                return
