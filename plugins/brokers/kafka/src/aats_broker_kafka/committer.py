"""Commits of one group: what is asked for while one is under way goes into the next."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable

from aats_broker_kafka.driver import BACKOFF, TopicPartition
from aats_broker_kafka.membership import Membership
from aats_broker_kafka.partition import Partition
from aats_core.errors import BrokerError, BrokerUnavailable

State = dict[TopicPartition, tuple[int, str]]
"""The offsets of partitions, and their notes."""
Confirm = Callable[[], Awaitable[None]]

Caller = tuple[float, asyncio.Future[None]]
"""Who waits for a commit, and the event loop's time until which."""


class Committer:
    """Stores what the group has done of its partitions, trying again for as long as they are its own.

    A commit begins after all that is ready to run has had its turn, so that what is settled and what is handed out
    instead travel together. `stored` is called after each: a note that was full may have room again.
    """

    def __init__(self, membership: Membership, timeout: float, stored: Callable[[], None]) -> None:
        self._membership = membership
        self._stored = stored
        self._landings: set[asyncio.Task[None]] = set()
        self._dirty: set[Partition] = set()
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._callers: list[Caller] = []
        self._storing: list[Caller] = []
        self._departing: list[Caller] = []
        """Who goes on as soon as the next commit is on its way."""
        self._leaving: list[Caller] = []
        self._begun = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def soon(self, parts: Iterable[Partition]) -> asyncio.Future[None]:
        """Return what is done once the present state of partitions is stored, or they belong to others."""
        self._dirty.update(parts)
        return self._ask(self._callers, math.inf)

    def done(self, part: Partition) -> asyncio.Future[None]:
        """Return what is done once the state of a partition is stored, or raises when that takes too long."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._late)
        self._dirty.add(part)
        return self._ask(self._callers, self._loop.time() + self._timeout)

    def _ask(self, callers: list[Caller], until: float) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        callers.append((until, future))
        if not self._begun:
            self._begun = True
            self._loop.call_soon(self._loop.call_soon, self._begin)
        return future

    def _late(self) -> None:
        """Let nobody wait for longer than the timeout."""
        self._timer = None
        now, waiting = self._loop.time() + 0.001, list[float]()
        for until, future in (*self._storing, *self._callers):
            if until > now:
                waiting.append(until)
            elif not future.done():
                future.set_exception(BrokerUnavailable("Kafka has not confirmed it yet; it is tried further"))
        if waiting and (first := min(waiting)) < math.inf:
            self._timer = self._loop.call_at(first, self._late)

    async def sent(self, parts: set[Partition]) -> None:
        """Return once the state of partitions is on its way, so that even kill -9 does not keep it from being stored.

        Where that is not sure, return once it is stored.
        """
        if self._begun or not (confirm := await self._send(_state(parts))):
            self._dirty.update(parts)
            await self._ask(self._departing, math.inf)
            return
        task = asyncio.create_task(self._land(confirm, parts))
        self._landings.add(task)
        self._stored()
        task.add_done_callback(self._landings.discard)

    async def _send(self, state: State) -> Confirm | None:
        """Send a state without waiting for it to be stored, and return what does; nothing where that is not sure."""
        if self._membership.trusted:
            with contextlib.suppress(BrokerError):
                return await self._membership.tell(state)
        return None

    async def _land(self, confirm: Confirm, parts: set[Partition]) -> None:
        try:
            await confirm()
        except BrokerError:
            await self.soon(parts)

    async def close(self) -> None:
        """Give up what is not stored yet."""
        self._begun = True
        tasks = {*self._landings, *([self._task] if self._task else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._timer:
            self._timer.cancel()
        for _, future in (*self._storing, *self._callers, *self._leaving, *self._departing):
            if not future.done():
                future.set_exception(BrokerUnavailable("Kafka has not confirmed it before the broker was closed"))
                future.exception()  # whoever still waits sees it; there may be nobody
        self._storing, self._callers = [], []

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._callers or self._departing:
                parts, self._dirty = self._dirty, set()
                self._storing, self._callers = self._callers, []
                self._leaving, self._departing = self._departing, []
                await self._keep_storing(parts)
                self._stored()
                _finish(self._storing)
                _finish(self._leaving)
                await asyncio.sleep(0)
        finally:
            self._task, self._begun = None, False

    async def _keep_storing(self, parts: set[Partition]) -> None:
        while live := [part for part in parts if part.mine]:
            try:
                return await self._store(_state(live))
            except BrokerError:
                await asyncio.sleep(BACKOFF)
        return None

    async def _store(self, state: State) -> None:
        if self._leaving and (confirm := await self._send(state)):
            _finish(self._leaving)
            self._stored()
            return await confirm()
        return await self._membership.commit(state)


def _finish(callers: list[Caller]) -> None:
    """Let everybody go on who waits."""
    for _, future in callers:
        if not future.done():
            future.set_result(None)
    callers.clear()


def _state(parts: Iterable[Partition]) -> State:
    return {part.place: (part.committed, part.note()) for part in parts if part.mine}
