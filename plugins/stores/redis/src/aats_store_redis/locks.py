"""Locks with fencing tokens: a hash each, held until a time of the server's clock that its holder keeps moving on."""

from __future__ import annotations

import asyncio
import logging

from aats_core.clock import Clock
from aats_core.errors import StoreUnavailable
from aats_core.storage.locks import Attempt, Holder, Locks
from aats_store_redis.link import Link
from aats_store_redis.scripts import script
from aats_store_redis.subscriptions import Listener, Subscriptions

log = logging.getLogger("aats.store.redis")

_LOOK = 0.25
"""Seconds between two looks at a lock where the server lets nobody listen."""


class RedisLocks(Locks):
    """Locks in Redis. Who waits is told when one is let go, and looks when it has run out."""

    def __init__(self, link: Link, subscriptions: Subscriptions, clock: Clock, namespace: str) -> None:
        super().__init__(clock, log)
        self._link = link
        self._subscriptions = subscriptions
        self._namespace = namespace
        self._bells: dict[str, Listener] = {}

    def _key(self, name: str) -> str:
        return f"aats:{self._namespace}:l:{name}"

    async def _try(self, holder: Holder) -> Attempt:
        token, wait = await self._run("lock", holder, _milliseconds(holder.ttl))
        return Attempt(token) if token else Attempt(wait=wait / 1000)

    async def _extend(self, holder: Holder) -> bool:
        return bool(await self._run("hold", holder, _milliseconds(holder.ttl)))

    async def _free(self, holder: Holder) -> None:
        bell = self._bells.pop(holder.name, None)
        if bell is not None:
            await self._subscriptions.leave(bell)
        await self._run("hold", holder, 0)

    async def _run(self, name: str, holder: Holder, ttl: int) -> list[int]:
        answer: list[int] = await self._link.run(script(name), self._key(holder.name), holder.id, ttl, repeat=True)
        return answer

    async def _wait(self, name: str, seconds: float) -> None:
        bell = self._bells.get(name)
        if bell is None:
            try:
                self._bells[name] = await self._subscriptions.listen(self._key(name))
            except StoreUnavailable:
                await self._clock.sleep(min(seconds, _LOOK))
            return  # it may have been let go before anybody listened
        try:
            async with asyncio.timeout(seconds):
                await bell.get()
        except TimeoutError:
            pass


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
