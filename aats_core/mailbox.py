"""A mailbox: what waits for an agent, in order, bounded so that senders wait when the agent does not keep up."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue with several takers, the agent's replicas, that wakes exactly one for each item."""

    __slots__ = ("_idle", "_items", "_limit", "_senders", "closed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.closed = False
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
        """Put an item in and return True, or return False where the mailbox is full or closed."""
        if len(self._items) >= self._limit:
            return False
        self.force(item)
        return True

    def force(self, item: T) -> None:
        """Put an item in even where the mailbox is full: for what was accepted once before."""
        self._items.append(item)
        if self._idle:
            self._wake_taker()

    async def put(self, item: T) -> bool:
        """Put an item in, waiting while the mailbox is full, and return True, or return False once it is closed."""
        line_up = self._senders.append
        while not self.offer(item):
            if self.closed:
                return False
            waiter = asyncio.get_running_loop().create_future()
            line_up(waiter)
            line_up = self._senders.appendleft  # who was let in and found the room taken keeps the place in the line
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._senders:
                    self._senders.remove(waiter)
                else:
                    self._admit()
                raise
        return True

    def close(self) -> list[T]:
        """Take in nothing more, send away those who wait to put something in, and return what nobody has taken."""
        self.closed, self._limit = True, 0
        left = list(self._items)
        self._items.clear()
        for sender in self._senders:
            if not sender.done():
                sender.set_result(None)
        self._senders.clear()
        return left

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
        if waiter in self._idle:
            self._idle.remove(waiter)
        elif self._items:
            self._wake_taker()

    def _wake_taker(self) -> None:
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _admit(self) -> None:
        while self._senders:
            sender = self._senders.popleft()
            if not sender.done():
                sender.set_result(None)
                return
