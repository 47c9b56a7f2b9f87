"""Commits of one group: what is asked for while one is under way goes into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aats_broker_kafka.deadlines import Deadlines, time_out
from aats_broker_kafka.driver import BACKOFF, TopicPartition
from aats_broker_kafka.membership import Membership
from aats_broker_kafka.partition import Partition
from aats_core.errors import BrokerError, BrokerUnavailable


class Committer:
    """Stores what the group has done of its partitions, trying again for as long as they are its own.

    `stored` is called after each time: a note that was full may have room again.
    """

    def __init__(self, membership: Membership, timeout: float, stored: Callable[[], None]) -> None:
        self._membership = membership
        self._stored = stored
        self._landings: set[asyncio.Task[None]] = set()
        self._dirty: set[Partition] = set()
        self._callers: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._deadlines: Deadlines[asyncio.Future[None]] = Deadlines(timeout, time_out)

    def soon(self, parts: Iterable[Partition]) -> asyncio.Future[None]:
        """Return what is done once the present state of partitions is stored, or they belong to others."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._dirty.update(parts)
        self._callers.append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return future

    async def done(self, part: Partition) -> None:
        """Return once the state of a partition is stored; raises where that takes too long, and it goes on."""
        future = self.soon((part,))
        self._deadlines.add(future)
        try:
            await future
        except TimeoutError as error:
            raise BrokerUnavailable("Kafka has not confirmed it yet; it is tried further") from error
        finally:
            self._deadlines.discard(future)

    async def sent(self, parts: set[Partition]) -> None:
        """Return once the state of partitions is on its way, so that even kill -9 does not keep it from being stored.

        Where that is not sure, or much is on its way already, return once it is stored.
        """
        if self._task is None and self._membership.trusted:
            try:
                confirm = await self._membership.tell(_state(parts))
            except BrokerError:
                pass
            else:
                task = asyncio.create_task(self._land(confirm, parts))
                self._landings.add(task)
                self._stored()
                task.add_done_callback(self._landings.discard)
                return
        await self.soon(parts)

    async def _land(self, confirm: Callable[[], Awaitable[None]], parts: set[Partition]) -> None:
        try:
            await confirm()
        except BrokerError:
            await self.soon(parts)

    async def close(self) -> None:
        """Give up what is not stored yet."""
        tasks = {*self._landings, *([self._task] if self._task else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _work(self) -> None:
        callers: list[asyncio.Future[None]] = []
        try:
            while self._callers:
                parts, self._dirty = self._dirty, set()
                callers, self._callers = self._callers, []
                await self._keep_storing(parts)
                self._stored()
                for future in callers:
                    if not future.done():
                        future.set_result(None)
        finally:
            self._task = None
            for future in (*callers, *self._callers):
                if not future.done():
                    future.set_exception(BrokerUnavailable("Kafka has not confirmed it before the broker was closed"))
                    future.exception()  # whoever still waits sees it; there may be nobody

    async def _keep_storing(self, parts: set[Partition]) -> None:
        while live := [part for part in parts if part.mine]:
            try:
                return await self._membership.commit(_state(live))
            except BrokerError:
                await asyncio.sleep(BACKOFF)
        return None


def _state(parts: Iterable[Partition]) -> dict[TopicPartition, tuple[int, str]]:
    return {part.place: (part.committed, part.note()) for part in parts if part.mine}
