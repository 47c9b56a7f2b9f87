"""Counters: how often each of many things was seen, and which most often."""

from __future__ import annotations

from aats_core.store import Capability
from aats_store_redis.link import Link


class RedisCounters(Capability):
    """Counts things under a name; counts up to 2^53 are exact."""

    def __init__(self, link: Link, namespace: str) -> None:
        self._link = link
        self._prefix = f"aats:{namespace}:n:"

    async def add(self, counter: str, thing: str, by: int = 1) -> int:
        """Count a thing and return how often it was counted."""
        key = self._prefix + counter
        return int(float(await self._link.ask(key, "ZINCRBY", key, by, thing)))

    async def count(self, counter: str, thing: str) -> int:
        """Return how often a thing was counted."""
        key = self._prefix + counter
        return int(float(await self._link.ask(key, "ZSCORE", key, thing, repeat=True) or 0))

    async def top(self, counter: str, most: int = 10) -> list[tuple[str, int]]:
        """Return the things that were counted most often, and how often."""
        key = self._prefix + counter
        found = await self._link.ask(key, "ZREVRANGE", key, 0, most - 1, "WITHSCORES", repeat=True)
        return [(thing.decode(), int(float(count))) for thing, count in zip(found[::2], found[1::2], strict=True)]

    async def reset(self, counter: str) -> bool:
        """Forget all that was counted under a name; tells whether there was anything."""
        key = self._prefix + counter
        return bool(await self._link.ask(key, "DEL", key))
