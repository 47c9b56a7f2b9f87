"""A lease has one holder at a time, outlives no dead one, and refuses what an older holder writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aats_store_sqlite import SqliteStore

from aats_core.clock import RealClock, VirtualClock
from aats_core.errors import Conflict, LeaseHeld, LeaseLost, StoreUnavailable
from aats_core.lease import COLLECTION, Lease
from aats_core.settings import TeamInfo
from aats_core.store import Put, RecordStore

LONG = 3600.0
"""Seconds in which no test, however slow the machine, lets a lease run out."""


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[RecordStore]:
    store = SqliteStore(SqliteStore.Settings(), TeamInfo(state_dir=path), RealClock())
    await store.connect()
    try:
        yield next(part for part in store.capabilities if isinstance(part, RecordStore))
    finally:
        await store.close()


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[RecordStore], Awaitable[Any]]], Any]:
    """Return a function that runs a test on a store."""

    def run(test: Callable[[RecordStore], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with opened(tmp_path) as records:
                return await test(records)

        return asyncio.run(main())

    return run


def lease(records: RecordStore, holder: str, ttl: float = LONG, **options: Any) -> Lease:
    return Lease(records, "work", ttl=ttl, holder=holder, **options)


def test_who_comes_second_is_told_who_holds_it(run):
    async def test(records: RecordStore) -> None:
        told: list[str] = []
        async with lease(records, "ann").hold():
            with pytest.raises(LeaseHeld, match="the lease work is held by ann"):
                async with lease(records, "bob").hold(timeout=0, waiting=told.append):
                    pytest.fail("both hold it")
        assert told == ["ann"]

    run(test)


def test_once_it_is_given_back_the_next_has_it_with_a_larger_token(run):
    async def test(records: RecordStore) -> None:
        tokens = []
        for holder in ("ann", "bob", "ann"):
            async with lease(records, holder).hold(timeout=0) as token:
                tokens.append(token)
        assert tokens == [1, 2, 3]

    run(test)


def test_of_many_at_once_one_has_it_at_a_time(run):
    async def test(records: RecordStore) -> None:
        inside, tokens = 0, []

        async def work(name: str) -> None:
            nonlocal inside
            async with lease(records, name).hold() as token:
                inside += 1
                assert inside == 1
                await asyncio.sleep(0.01)
                inside -= 1
                tokens.append(token)

        await asyncio.gather(*(work(f"worker {n}") for n in range(5)))
        assert sorted(tokens) == [1, 2, 3, 4, 5]

    run(test)


async def leave_behind(records: RecordStore, ttl: float) -> dict[str, Any]:
    """Leave the record of a holder that died."""
    dead = {"_id": "work", "token": 7, "beat": 3, "id": "x", "holder": "dead", "ttl": ttl}
    await records.write([Put(COLLECTION, dead)])
    return dead


def test_what_a_dead_holder_had_is_taken_once_its_time_is_over_by_the_waiters_own_clock(run):
    async def test(records: RecordStore) -> None:
        await leave_behind(records, 30.0)
        clock = VirtualClock()
        waiting = asyncio.create_task(lease(records, "bob", clock=clock).acquire())
        await until(lambda: clock._sleepers)

        while clock.monotonic() < 29:
            await clock.advance(1.0)
            await until(lambda: clock._sleepers)
        assert not waiting.done()
        while not waiting.done():
            await clock.advance(1.0)
            await until(lambda: clock._sleepers or waiting.done())

        [found] = await records.find(COLLECTION)
        assert (found["holder"], found["token"]) == ("bob", 8)

    run(test)


def test_a_holder_that_gives_a_sign_keeps_it(run):
    async def test(records: RecordStore) -> None:
        await leave_behind(records, 30.0)
        clock = VirtualClock()
        waiting = asyncio.create_task(lease(records, "bob", clock=clock).acquire())
        await until(lambda: clock._sleepers)

        for _ in range(5):
            for _ in range(20):
                await clock.advance(1.0)
                await until(lambda: clock._sleepers or waiting.done())
            await records.update(COLLECTION, {"_id": "work"}, {"$inc": {"beat": 1}})
        assert not waiting.done()
        waiting.cancel()

    run(test)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_who_lost_it_is_cut_off_and_what_it_writes_is_refused(run):
    async def test(records: RecordStore) -> None:
        slow = lease(records, "slow", ttl=0.3)
        began = asyncio.Event()

        async def work() -> None:
            async with slow.hold():
                began.set()
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await began.wait()
        await records.update(COLLECTION, {"_id": "work"}, {"$set": {"holder": "thief"}, "$inc": {"token": 1}})

        with pytest.raises(LeaseLost, match="the lease work"):
            await working
        with pytest.raises(Conflict):
            await records.write([slow.fence, Put("things", {"_id": 1})])
        assert await records.find("things") == []
        [found] = await records.find(COLLECTION)
        assert found["holder"] == "thief"

    run(test)


def test_who_cannot_renew_is_cut_off_unless_it_is_fenced_by_itself(run):
    class Away(Lease):
        async def renew(self) -> None:
            raise StoreUnavailable

    async def test(records: RecordStore) -> None:
        holder, fenced = Away(records, "work", ttl=0.2), asyncio.Event()

        async def work() -> None:
            async with holder.hold():
                with holder.unlimited():
                    await asyncio.sleep(0.5)
                    fenced.set()
                await asyncio.Event().wait()

        with pytest.raises(LeaseLost):
            await work()
        assert fenced.is_set()

    run(test)


def test_a_holder_may_raise_a_timeout_of_its_own(run):
    async def test(records: RecordStore) -> None:
        with pytest.raises(TimeoutError, match="mine"):
            async with lease(records, "ann").hold():
                raise TimeoutError("mine")

    run(test)
