"""Locks with fencing tokens: held until a time that the holder keeps moving on, wherever that is written down."""

from __future__ import annotations

import asyncio
import logging
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from aats_core.clock import Clock
from aats_core.errors import StoreError
from aats_core.message import new_id
from aats_core.storage.keyvalues import check_ttl
from aats_core.store import Lock

_RENEWALS_PER_TTL = 3


class Holder(msgspec.Struct, frozen=True):
    """Who asks for which lock, and for how many seconds at a time."""

    name: str
    id: str
    ttl: float


class Attempt(msgspec.Struct, frozen=True):
    """What came of asking for a lock: its token, or for how many seconds more somebody else holds it."""

    token: int | None = None
    wait: float = 0.0


class Locks(ABC):
    """Takes, renews and releases locks. Those who wait within this process are served in the order they came."""

    def __init__(self, clock: Clock, log: logging.Logger) -> None:
        self._clock = clock
        self._log = log
        self._queues: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @abstractmethod
    async def _try(self, holder: Holder) -> Attempt:
        """Take a lock that nobody holds, with a token larger than that of any holder before."""

    @abstractmethod
    async def _extend(self, holder: Holder) -> bool:
        """Hold a lock for another `ttl` seconds from now; tells whether it still was held."""

    @abstractmethod
    async def _free(self, holder: Holder) -> None:
        """Let go of a lock, if it is held."""

    async def _wait(self, name: str, seconds: float) -> None:
        """Wait until a lock may be free, at most for so many seconds."""
        del name
        await self._clock.sleep(seconds)

    @asynccontextmanager
    async def hold(self, name: str, ttl: float, timeout: float | None) -> AsyncIterator[Lock]:
        """Hold a lock while in the context; raises `TimeoutError` where it could not be had in time."""
        check_ttl(f"lock {name}", ttl)
        queue = self._queues.setdefault(name, asyncio.Lock())
        holder = Holder(name, new_id(), ttl)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout):
                    await stack.enter_async_context(queue)
                    stack.push_async_callback(self._release, holder)
                    token = await self._take(holder)
            except TimeoutError as error:
                raise TimeoutError(f"lock {name}: somebody else held it for {timeout:g} seconds") from error
            renewing = asyncio.create_task(self._renew(holder))
            stack.callback(renewing.cancel)
            yield Lock(name, token)

    async def _take(self, holder: Holder) -> int:
        while (attempt := await self._try(holder)).token is None:
            await self._wait(holder.name, attempt.wait)
        return attempt.token

    async def _renew(self, holder: Holder) -> None:
        while True:
            await self._clock.sleep(holder.ttl / _RENEWALS_PER_TTL)
            try:
                if not await self._extend(holder):
                    self._log.error("lock %s: its time ran out before it was renewed, and another took it", holder.name)
                    return
            except StoreError as error:
                self._log.warning("lock %s: could not be renewed, trying again: %s", holder.name, error)

    async def _release(self, holder: Holder) -> None:
        """Let the next one have the lock; where that fails, its time will run out."""
        try:
            await self._free(holder)
        except StoreError as error:
            self._log.warning("lock %s: could not be released, its time will run out: %s", holder.name, error)
