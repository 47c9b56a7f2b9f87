"""Locks: one holder at a time, a token that grows, and an end to it when the holder dies."""

from __future__ import annotations

import asyncio

from aats_core.store import KeyValueStore
from aats_core.testing.stores_harness import StoreHarness, promise


class LockPromises(StoreHarness[KeyValueStore]):
    """Who holds a lock, and for how long."""

    @promise()
    async def test_one_holds_a_lock_at_a_time(self, values: KeyValueStore) -> None:
        name, inside, most = self.new_name(), 0, 0

        async def work() -> int:
            nonlocal inside, most
            async with values.lock(name) as lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1
                return lock.token

        tokens = await asyncio.gather(*(work() for _ in range(10)))
        assert most == 1
        assert len(set(tokens)) == 10, "each holder has a token of its own"

    @promise()
    async def test_the_token_grows_with_every_holder(self, values: KeyValueStore) -> None:
        name, tokens = self.new_name(), []
        for _ in range(5):
            async with values.lock(name) as lock:
                assert lock.name == name
                tokens.append(lock.token)
        assert tokens == sorted(set(tokens))

    @promise()
    async def test_locks_are_told_apart(self, values: KeyValueStore) -> None:
        async with values.lock(self.new_name()), values.lock(self.new_name(), timeout=self.patience):
            pass

    @promise()
    async def test_who_waits_too_long_is_told(self, values: KeyValueStore) -> None:
        name = self.new_name()
        async with values.lock(name), self.expect(TimeoutError, name), values.lock(name, timeout=0.05):
            raise AssertionError("two hold the same lock")
        async with values.lock(name, timeout=self.patience):
            pass

    @promise()
    async def test_an_error_inside_passes_and_frees_the_lock(self, values: KeyValueStore) -> None:
        name = self.new_name()
        async with self.expect(TimeoutError, "mine"), values.lock(name, timeout=self.patience):
            raise TimeoutError("mine")
        async with values.lock(name, timeout=self.patience):
            pass

    @promise()
    async def test_who_is_cancelled_frees_the_lock(self, values: KeyValueStore) -> None:
        name, holding = self.new_name(), asyncio.Event()

        async def hold() -> None:
            async with values.lock(name):
                holding.set()
                await asyncio.Event().wait()

        for wait_until_held in (True, False):
            task = asyncio.create_task(hold())
            await (self.within(holding.wait(), "a free lock was not given") if wait_until_held else asyncio.sleep(0))
            task.cancel()
            await asyncio.wait([task])
            async with values.lock(name, timeout=self.patience):
                pass

    @promise("second client")
    async def test_a_lock_is_one_for_all_clients(self, values: KeyValueStore) -> None:
        name = self.new_name()
        async with self.client() as other, values.lock(name) as mine:
            async with self.expect(TimeoutError), other.lock(name, timeout=0.05):
                raise AssertionError("two clients hold the same lock")
            assert mine.token > 0

    @promise("second client")
    async def test_a_lock_is_renewed_while_it_is_held(self, values: KeyValueStore) -> None:
        name = self.new_name()
        async with self.client() as other, values.lock(name, ttl=1.0):
            for _ in range(6):
                await self.advance_time(0.4)
            async with self.expect(TimeoutError), other.lock(name, ttl=1.0, timeout=0.05):
                raise AssertionError("the lock ran out although its holder lives")

    @promise("second client")
    async def test_the_lock_of_who_died_runs_out(self, values: KeyValueStore) -> None:
        name, holding = self.new_name(), asyncio.Event()
        store = self.make_store()
        await store.connect()
        dying = self.offered(store)
        tokens: list[int] = []

        async def hold() -> None:
            async with dying.lock(name, ttl=1.0) as lock:
                tokens.append(lock.token)
                holding.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await self.within(holding.wait(), "a free lock was not given")
        await store.close()
        async with self.expect(TimeoutError), values.lock(name, ttl=1.0, timeout=0.05):
            raise AssertionError("the lock was free before its time")
        await self.advance_time(2.0)
        async with values.lock(name, ttl=1.0, timeout=self.patience) as lock:
            assert lock.token > tokens[0]
        task.cancel()
        await asyncio.wait([task])
