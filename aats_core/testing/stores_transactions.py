"""`RecordStore.transaction`: reads and writes that belong together."""

from __future__ import annotations

import asyncio
from typing import Any

from aats_core.errors import Conflict, DuplicateKey
from aats_core.store import RecordStore
from aats_core.testing.stores_harness import StoreHarness, promise


class _Stop(Exception):
    """What a test ends a transaction with."""


class TransactionPromises(StoreHarness[RecordStore]):
    """What happens in a transaction and at its end."""

    @promise("transactions")
    async def test_a_transaction_sees_what_it_wrote_and_others_do_not(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1, "a": 1})
        async with records.transaction() as inside:
            await inside.insert(name, {"_id": 2, "a": 2})
            assert (await inside.update(name, {"_id": 1}, {"$inc": {"a": 10}})).modified == 1
            assert await inside.find(name, sort={"_id": 1}) == [{"_id": 1, "a": 11}, {"_id": 2, "a": 2}]
            assert await inside.count(name, {"a": {"$gt": 5}}) == 1
            assert await inside.aggregate(name, [{"$group": {"_id": None, "sum": {"$sum": "$a"}}}]) == [
                {"_id": None, "sum": 13}
            ]
            assert await records.find(name) == [{"_id": 1, "a": 1}]
        assert await records.find(name, sort={"_id": 1}) == [{"_id": 1, "a": 11}, {"_id": 2, "a": 2}]

    @promise("transactions")
    async def test_an_exception_rolls_all_of_it_back(self, records: RecordStore) -> None:
        name, fresh = self.new_name(), self.new_name()
        await records.insert(name, {"_id": 1})
        async with self.expect(_Stop), records.transaction() as inside:
            await inside.delete(name, {})
            await inside.insert(fresh, {"_id": 1})
            raise _Stop
        assert await records.find(name) == [{"_id": 1}]
        assert await records.find(fresh) == []
        await records.insert(fresh, {"_id": 1})

    @promise("transactions")
    async def test_a_cancelled_transaction_is_rolled_back(self, records: RecordStore) -> None:
        name, wrote = self.new_name(), asyncio.Event()

        async def work() -> None:
            async with records.transaction() as inside:
                await inside.insert(name, {"_id": 1})
                wrote.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await self.within(wrote.wait(), "a transaction did not begin")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await records.find(name) == []
        await records.insert(name, {"_id": 1})

    @promise("transactions")
    async def test_a_caller_who_gives_up_waiting_for_a_transaction_holds_nobody_up(self, records: RecordStore) -> None:
        name = self.new_name()

        async def wait() -> None:
            async with records.transaction() as inside:
                await inside.insert(name, {"_id": "late"})

        async with records.transaction() as inside:
            await inside.insert(name, {"_id": 1})
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
        await records.insert(name, {"_id": 2})
        assert await records.count(name, {"_id": {"$in": [1, 2]}}) == 2

    @promise("transactions")
    async def test_what_fails_inside_can_be_caught(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1})
        async with self.expect(DuplicateKey), records.transaction() as inside:
            await inside.insert(name, {"_id": 0})
            await inside.insert(name, {"_id": 1})
        assert await records.find(name) == [{"_id": 1}]

    @promise("transactions")
    async def test_an_empty_transaction_is_harmless(self, records: RecordStore) -> None:
        async with records.transaction():
            pass

    @promise("transactions")
    async def test_nothing_is_lost_between_a_read_and_a_write(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1, "n": 0})

        async def add() -> None:
            while True:
                try:
                    async with records.transaction() as inside:
                        (document,) = await inside.find(name, {"_id": 1})
                        await inside.update(name, {"_id": 1}, {"$set": {"n": document["n"] + 1}})
                except Conflict:
                    continue
                return

        await asyncio.gather(*(add() for _ in range(20)))
        assert await records.find(name) == [{"_id": 1, "n": 20}]

    @promise("transactions")
    async def test_the_event_loop_runs_while_others_wait(self, records: RecordStore) -> None:
        name = self.new_name()
        async with records.transaction() as inside:
            await inside.insert(name, {"_id": 1})
            others: list[Any] = [asyncio.create_task(records.insert(name, {"_id": each})) for each in range(2, 5)]
            await asyncio.wait_for(asyncio.sleep(0.01), self.patience)
            await inside.insert(name, {"_id": 5})
        await asyncio.gather(*others)
        assert await records.count(name) == 5

    @promise("transactions", "reopening")
    async def test_a_committed_transaction_outlives_the_store(self, records: RecordStore) -> None:
        name = self.new_name()
        async with records.transaction() as inside:
            await inside.insert(name, {"_id": 1})
        async with self.client() as again:
            assert await again.find(name) == [{"_id": 1}]
