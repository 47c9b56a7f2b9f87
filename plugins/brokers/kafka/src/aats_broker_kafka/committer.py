"""Commits of one group: what is asked for while one is under way goes into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aats_broker_kafka.driver import BACKOFF, TopicPartition
from aats_broker_kafka.partition import Partition
from aats_core.errors import BrokerError

Store = Callable[[dict[TopicPartition, tuple[int, str]]], Awaitable[None]]


class Committer:
    """Stores what the group has done of its partitions, trying again for as long as they are its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty: set[Partition] = set()
        self._next: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def done(self, parts: Iterable[Partition]) -> None:
        """Return once the present state of partitions is stored, or they belong to others."""
        self._dirty.update(parts)
        if not self._dirty:
            return
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        await asyncio.shield(self._next)

    async def close(self) -> None:
        """Give up what is not stored yet."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _work(self) -> None:
        future: asyncio.Future[None] | None = None
        try:
            while self._next is not None:
                parts, self._dirty = self._dirty, set()
                future, self._next = self._next, None
                await self._keep_storing(parts)
                future.set_result(None)
        finally:
            self._task = None
            for pending in (future, self._next):
                if pending is not None and not pending.done():
                    pending.cancel()

    async def _keep_storing(self, parts: set[Partition]) -> None:
        while live := [part for part in parts if part.mine]:
            try:
                return await self._store({part.place: (part.committed, part.note()) for part in live})
            except BrokerError:
                await asyncio.sleep(BACKOFF)
