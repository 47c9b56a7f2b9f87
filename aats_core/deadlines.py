"""Timeouts for very many short waits: kept in coarse buckets, so that one that is not needed costs next to nothing."""

from __future__ import annotations

import asyncio

from aats_core.errors import RequestTimeout

RESOLUTION = 0.05
"""Seconds by which a timeout may come late."""


class Deadlines:
    """Fails futures with `RequestTimeout` once their time has come, at most `RESOLUTION` seconds late."""

    __slots__ = ("_buckets", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[asyncio.Future[object]]] = {}

    def add(self, future: asyncio.Future[object], timeout: float) -> set[asyncio.Future[object]]:
        """Watch a future; the caller discards it from the set returned once it no longer waits."""
        slot = int((self._loop.time() + timeout) / RESOLUTION) + 1
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = set()
            self._loop.call_at(slot * RESOLUTION, self._expire, slot)
        bucket.add(future)
        return bucket

    def _expire(self, slot: int) -> None:
        for future in self._buckets.pop(slot):
            if not future.done():
                future.set_exception(RequestTimeout())
