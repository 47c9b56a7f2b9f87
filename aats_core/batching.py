"""Concurrent calls done together: many travel in one round trip, and each awaits its own answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects the items of concurrent calls and hands them on in batches.

    `send` gets up to `limit` items in the order of the calls and returns an outcome for each: what its call returns,
    or an exception that it raises. Where `send` itself raises, every call of the batch raises that. What is asked for
    while a batch is under way waits for the next; `lanes` batches may be under way at once.
    """

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[Sequence[R | BaseException]]],
        *,
        limit: int = 500,
        lanes: int = 1,
    ) -> None:
        self._send = send
        self._limit = limit
        self._free = lanes
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many items wait for their batch."""
        return len(self._waiting)

    async def do(self, item: T) -> R:
        """Do something in the next batch. A caller that gives up earlier takes nothing back that is under way."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._free:
            self._begin()
        return await future

    async def drain(self) -> None:
        """Wait until everything that was asked for is answered."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _begin(self) -> None:
        self._free -= 1
        task = asyncio.get_running_loop().create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._waiting:
                count = min(self._limit, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                asked = [(item, future) for item, future in batch if not future.done()]
                if asked:
                    await self._answer(asked)
        finally:
            self._free += 1

    async def _answer(self, asked: list[tuple[T, asyncio.Future[R]]]) -> None:
        outcomes: Sequence[R | BaseException]
        try:
            outcomes = await self._send([item for item, _ in asked])
        except Exception as error:  # noqa: BLE001 - contained: it is raised again by every call of the batch
            outcomes = [error] * len(asked)
        for (_, future), outcome in zip(asked, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
