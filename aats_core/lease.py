"""A lease: a right that one process at a time holds, kept as a record in a store that all of them share."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from aats_core.clock import Clock, RealClock
from aats_core.errors import Conflict, DuplicateKey, LeaseHeld, LeaseLost, StoreError
from aats_core.message import new_id
from aats_core.store import Insert, Put, RecordStore, Require

COLLECTION = "leases"

RELEASE_TIMEOUT = 5.0
"""Seconds that giving a lease back may take; one that could not be given back runs out by itself."""

_BEATS = 3  # renewals within the time of a lease
_LOOKS = 20  # looks at another's lease within its time
_LONGEST_PAUSE = 1.0

log = logging.getLogger("aats.lease")

Beat = tuple[int, int]


def this_process() -> str:
    """Return who this process is, as others are told of it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


class Lease:
    """One process's part in a lease of that name.

    Its holder renews it all the time. Whoever sees it unchanged for `ttl` seconds takes it over, by his own clock: no
    clocks are compared, so that they may differ. Each holder has a larger `token` than all before it, and
    `fence` puts it into a write, which then fails with `Conflict` once another has taken over.

    Give an `id` only where no two processes can have it at a time: the next with the same one does not wait.
    """

    def __init__(
        self,
        records: RecordStore,
        name: str,
        *,
        ttl: float,
        holder: str = "",
        id: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.token = 0
        self._records = records
        self._ttl = ttl
        self._holder = holder or this_process()
        self._id = id or new_id()
        self._clock = clock or RealClock()
        self._scope: asyncio.Timeout | None = None
        self._unlimited = False
        self._released = False

    @property
    def fence(self) -> Require:
        """What makes a write fail unless the lease is still held."""
        return Require(COLLECTION, {"_id": self.name, "token": self.token})

    @asynccontextmanager
    async def hold(
        self, *, timeout: float | None = None, waiting: Callable[[str], None] = lambda _: None
    ) -> AsyncIterator[int]:
        """Hold it while in the context, whose value is its token; it is renewed meanwhile.

        `waiting` is called once with who holds it where it cannot be had at once. Raises `LeaseHeld` with the same
        after `timeout` seconds. What runs in the context is cancelled when the lease is lost, and `LeaseLost` raised.
        """
        began = await self.acquire(timeout=timeout, waiting=waiting)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(began + self._ttl) as self._scope:
                keeping = loop.create_task(self._keep_within(), name=f"lease {self.name}")
                try:
                    yield self.token
                finally:
                    keeping.cancel()
                    await asyncio.wait([keeping])
        except TimeoutError:
            if self._scope is None or not self._scope.expired():
                raise
            raise LeaseLost(f"the lease {self.name} could not be renewed in time, or another has taken it") from None
        finally:
            await self.release()

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """Do something that is fenced by itself and may keep the store from renewing: time alone ends it not."""
        self._unlimited = True
        self._limit(None)
        try:
            yield
        finally:
            self._unlimited = False
            self._limit(asyncio.get_running_loop().time() + self._ttl)

    async def renew(self) -> None:
        """Say that the holder is alive; raises `LeaseLost` where another holds it by now."""
        began = asyncio.get_running_loop().time()
        held = await self._records.update(COLLECTION, {"_id": self.name, "token": self.token}, {"$inc": {"beat": 1}})
        if not held.matched:
            raise LeaseLost(f"the lease {self.name} was taken over")
        if not self._unlimited:
            self._limit(began + self._ttl)

    async def acquire(self, *, timeout: float | None = None, waiting: Callable[[str], None] = lambda _: None) -> float:
        """Take it as `hold` does, for whoever sees to `keep` and `release` himself; returns the loop's time of that."""
        seen: Beat | None = None
        began = since = self._clock.monotonic()
        while True:
            asked = asyncio.get_running_loop().time()
            found = await self.look()
            beat = (found["token"], found["beat"]) if found else None
            if beat != seen:
                since = self._clock.monotonic()
            if self._can_be_taken(found, since if seen else None):
                if await self._take(found):
                    return asked
                continue
            assert found is not None, "a lease that nobody has ever had can be taken"
            if seen is None:
                waiting(found["holder"])
            seen = beat
            if timeout is not None and self._clock.monotonic() - began >= timeout:
                raise LeaseHeld(f"the lease {self.name} is held by {found['holder']}")
            await self._clock.sleep(min(found["ttl"] / _LOOKS, _LONGEST_PAUSE))

    def _can_be_taken(self, found: dict[str, Any] | None, since: float | None) -> bool:
        if found is None or not found["holder"] or found["id"] == self._id:
            return True
        return since is not None and self._clock.monotonic() - since >= found["ttl"]

    async def look(self) -> dict[str, Any] | None:
        """Return the record of the lease: the `id` and `holder` of who has it, empty where it was given back."""
        found = await self._records.find(COLLECTION, {"_id": self.name}, limit=1)
        return found[0] if found else None

    async def _take(self, found: dict[str, Any] | None) -> bool:
        token = found["token"] + 1 if found else 1
        mine = {"_id": self.name, "token": token, "beat": 0, "id": self._id, "holder": self._holder, "ttl": self._ttl}
        try:
            if found is None:
                await self._records.write([Insert(COLLECTION, mine)])
            else:
                same = Require(COLLECTION, {"_id": self.name, "token": found["token"], "beat": found["beat"]})
                await self._records.write([same, Put(COLLECTION, mine)])
        except (Conflict, DuplicateKey):
            return False
        self.token, self._released = token, False
        return True

    async def keep(self) -> None:
        """Renew it until it is released; raises `LeaseLost` once another has it, and goes on while nobody can say."""
        while True:
            await self._clock.sleep(self._ttl / _BEATS)
            if self._released:
                return
            try:
                await self.renew()
            except StoreError as error:
                log.warning("the lease %s could not be renewed, tries again: %s", self.name, error)

    async def _keep_within(self) -> None:
        try:
            await self.keep()
        except LeaseLost:
            self._limit(asyncio.get_running_loop().time())

    def _limit(self, when: float | None) -> None:
        if self._scope is not None and not self._scope.expired():
            with suppress(RuntimeError):  # its context has just been left
                self._scope.reschedule(when)

    async def release(self) -> None:
        """Give it back, so that nobody has to wait until it runs out."""
        self._released = True
        free = {"$set": {"holder": ""}, "$inc": {"beat": 1}}
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self._records.update(COLLECTION, {"_id": self.name, "token": self.token}, free)
        except (StoreError, TimeoutError) as error:
            log.warning("the lease %s could not be given back, it runs out by itself: %s", self.name, error)
