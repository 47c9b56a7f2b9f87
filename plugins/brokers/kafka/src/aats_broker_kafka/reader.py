"""Reads partitions without end, one request at a time to each node that leads some."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiokafka import errors

from aats_broker_kafka.driver import BACKOFF, EARLIEST, Driver, Found, TopicPartition
from aats_core.errors import BrokerError

WAIT = 0.25
"""Seconds that a node waits for the first record; so long a change of what is read may have to wait."""

log = logging.getLogger(__name__)


class Reader:
    """Hands what is in partitions to `take`, in the order of each, and goes on where that says."""

    def __init__(self, driver: Driver, take: Callable[[TopicPartition, Found], int]) -> None:
        self._driver = driver
        self._take = take
        self._positions: dict[TopicPartition, int] = {}
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._learning: asyncio.Task[None] | None = None
        self._running = self._woken = False
        self.paused = False
        """Whether it asks for no more."""

    def add(self, place: TopicPartition, position: int) -> None:
        """Begin to read a partition."""
        self._positions[place] = position
        self._wake()

    def remove(self, place: TopicPartition) -> None:
        """Read a partition no longer."""
        self._positions.pop(place, None)

    def pause(self, *, paused: bool) -> None:
        """Begin or cease to ask for more."""
        self.paused = paused
        self._wake()

    async def run(self) -> None:
        """Read until cancelled."""
        self._running = True
        self._look()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            tasks = [*self._busy.values(), *([self._learning] if self._learning else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self) -> None:
        """Look once all that is ready to run has had its turn, so that one request asks for all that was added."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Ask every node that is not being asked, and learn of the leaders of partitions that have none."""
        self._woken = False
        if self.paused or not self._running:
            return
        by_node: dict[int, dict[TopicPartition, int]] = {}
        for place, position in self._positions.items():
            node = self._driver.leader(place)
            if node is None:
                if self._learning is None:
                    self._learning = asyncio.create_task(self._find_leaders())
            elif node not in self._busy:
                by_node.setdefault(node, {})[place] = position
        for node, positions in by_node.items():
            self._busy[node] = asyncio.create_task(self._read(node, positions))

    async def _read(self, node: int, positions: dict[TopicPartition, int]) -> None:
        try:
            await self._fetch(node, positions)
        finally:
            del self._busy[node]
            self._look()

    async def _find_leaders(self) -> None:
        try:
            await asyncio.sleep(BACKOFF)
            await self._learn()
        finally:
            self._learning = None
            self._look()

    async def _fetch(self, node: int, positions: dict[TopicPartition, int]) -> None:
        try:
            found = await self._driver.fetch(node, positions, wait=WAIT)
            for place, what in found.items():
                if self._positions.get(place) == positions[place]:
                    if what.error:
                        await self._recover(place, what.error)
                    else:
                        self._positions[place] = self._take(place, what)
        except BrokerError:
            await asyncio.sleep(BACKOFF)
        except Exception:
            log.exception("what was read from node %s could not be taken", node)
            await asyncio.sleep(1)

    async def _recover(self, place: TopicPartition, code: int) -> None:
        if code == errors.OffsetOutOfRangeError.errno:
            earliest = await self._driver.offsets([place], EARLIEST)
            log.warning("%s: messages before offset %s are gone, retention has deleted them", place, earliest[place])
            if place in self._positions:
                self._positions[place] = earliest[place]
        else:
            await self._learn()
            await asyncio.sleep(BACKOFF)

    async def _learn(self) -> None:
        try:
            await self._driver.refresh()
        except BrokerError:
            await asyncio.sleep(BACKOFF)
