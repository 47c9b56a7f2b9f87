"""`RecordStore.write`: many small changes in one transaction, durable once it returns."""

from __future__ import annotations

import asyncio
from typing import Any

from aats_core.errors import Conflict, DuplicateKey, InvalidDocument, InvalidQuery, StoreError
from aats_core.store import Delete, Document, Insert, Put, RecordStore, Require, Update, Write
from aats_core.testing.stores_harness import StoreHarness, promise


class WritePromises(StoreHarness[RecordStore]):
    """What is written, and that it is all or nothing."""

    async def _all(self, records: RecordStore, name: str) -> dict[Any, Document]:
        return {document["_id"]: document for document in await records.find(name)}

    @promise()
    async def test_a_put_makes_or_replaces_the_whole_document(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Put(name, {"_id": 1, "a": 1, "b": 2})])
        await records.write([Put(name, {"_id": 1, "a": 3}), Put(name, {"_id": 2})])
        assert await self._all(records, name) == {1: {"_id": 1, "a": 3}, 2: {"_id": 2}}

    @promise()
    async def test_an_insert_refuses_an_id_that_exists(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Insert(name, {"_id": "x", "a": 1})])
        async with self.expect(DuplicateKey, name, "x"):
            await records.write([Insert(name, {"_id": "x", "a": 2})])
        assert await self._all(records, name) == {"x": {"_id": "x", "a": 1}}

    @promise()
    async def test_updates_and_deletes_change_all_that_match(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Put(name, {"_id": each, "a": each}) for each in range(4)])
        await records.write([Update(name, {"a": {"$gte": 2}}, {"$inc": {"a": 10}}), Delete(name, {"a": {"$lt": 1}})])
        assert {key: each["a"] for key, each in (await self._all(records, name)).items()} == {1: 1, 2: 12, 3: 13}

    @promise()
    async def test_an_update_makes_a_document_only_where_it_is_told_to(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Update(name, {"_id": 1}, {"$set": {"a": 1}})])
        assert await self._all(records, name) == {}
        await records.write([Update(name, {"_id": 1}, {"$set": {"a": 1}}, upsert=True)])
        assert await self._all(records, name) == {1: {"_id": 1, "a": 1}}

    @promise()
    async def test_operations_are_applied_in_order(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write(
            [
                Put(name, {"_id": 1, "a": 1}),
                Update(name, {"a": 1}, {"$set": {"a": 2}}),
                Require(name, {"_id": 1, "a": 2}),
                Delete(name, {"a": 2}),
                Insert(name, {"_id": 1, "a": 3}),
            ]
        )
        assert await self._all(records, name) == {1: {"_id": 1, "a": 3}}

    @promise()
    async def test_a_write_whose_requirement_fails_changes_nothing(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Put(name, {"_id": 1, "token": 1})])
        stale = Require(name, {"_id": 1, "token": 0})
        attempts: list[list[Write]] = [[stale, Put(name, {"_id": 2})], [Put(name, {"_id": 2}), stale], [stale]]
        for operations in attempts:
            async with self.expect(Conflict, name):
                await records.write(operations)
        assert await self._all(records, name) == {1: {"_id": 1, "token": 1}}

    @promise()
    async def test_a_requirement_on_what_is_not_there_fails(self, records: RecordStore) -> None:
        async with self.expect(Conflict):
            await records.write([Require(self.new_name(), {})])

    @promise()
    async def test_whatever_fails_takes_the_whole_write_with_it(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Put(name, {"_id": 1, "a": "text"})])
        changes: list[Write] = [Put(name, {"_id": 1, "a": 0}), Put(name, {"_id": 2}), Delete(name, {"_id": 1})]
        failing: list[tuple[type[StoreError], Any]] = [
            (DuplicateKey, Insert(name, {"_id": 2})),
            (InvalidQuery, Update(name, {}, {"$inc": {"_id": 1}})),
            (InvalidQuery, Update(name, {}, {"$explode": {"a": 1}})),
            (InvalidDocument, Put(name, {"_id": 3, "a": object()})),
        ]
        for kind, operation in failing:
            async with self.expect(kind):
                await records.write([*changes, operation])
            assert await self._all(records, name) == {1: {"_id": 1, "a": "text"}}

    @promise()
    async def test_writing_nothing_is_harmless(self, records: RecordStore) -> None:
        await records.write([])

    @promise()
    async def test_one_write_reaches_several_collections_or_none(self, records: RecordStore) -> None:
        one, other = self.new_name(), self.new_name()
        await records.write([Put(one, {"_id": 1}), Put(other, {"_id": 1})])
        async with self.expect(DuplicateKey):
            await records.write([Put(one, {"_id": 2}), Insert(other, {"_id": 1})])
        assert [await records.count(one), await records.count(other)] == [1, 1]

    @promise()
    async def test_what_was_written_is_read_at_once(self, records: RecordStore) -> None:
        name = self.new_name()
        for number in range(20):
            await records.write([Put(name, {"_id": number % 3, "n": number})])
            assert await records.find(name, {"_id": number % 3}) == [{"_id": number % 3, "n": number}]

    @promise()
    async def test_concurrent_writes_are_all_there(self, records: RecordStore) -> None:
        name = self.new_name()
        await asyncio.gather(*(records.write([Put(name, {"_id": each})]) for each in range(200)))
        assert await records.count(name) == 200

    @promise()
    async def test_a_write_that_fails_harms_no_other_at_the_same_time(self, records: RecordStore) -> None:
        name, taken = self.new_name(), 7
        await records.write([Put(name, {"_id": taken})])
        writes: list[Any] = [records.write([Put(name, {"_id": f"put {each}"})]) for each in range(20)]
        writes += [
            records.write([Put(name, {"_id": f"lost {each}"}), Insert(name, {"_id": taken})]) for each in range(5)
        ]
        writes += [records.write([Insert(name, {"_id": f"insert {each}"})]) for each in range(20)]
        writes += [records.write([Require(name, {"_id": "nobody"}), Put(name, {"_id": "lost"})]) for _ in range(5)]
        ends = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [DuplicateKey] * 5 + [Conflict] * 5
        found = await self._all(records, name)
        assert len(found) == 41
        assert not [key for key in found if str(key).startswith("lost")]

    @promise()
    async def test_of_those_who_require_the_same_state_and_change_it_one_wins(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Put(name, {"_id": "fence", "token": 0})])

        async def take(owner: int) -> int:
            await records.write(
                [
                    Require(name, {"_id": "fence", "token": 0}),
                    Put(name, {"_id": "fence", "token": 1, "owner": owner}),
                ]
            )
            return owner

        ends = await asyncio.gather(*map(take, range(20)), return_exceptions=True)
        winners = [end for end in ends if isinstance(end, int)]
        assert len(winners) == 1
        assert all(isinstance(end, Conflict) for end in ends if not isinstance(end, int))
        assert await records.find(name) == [{"_id": "fence", "token": 1, "owner": winners[0]}]

    @promise()
    async def test_concurrent_updates_of_one_document_are_all_applied(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Put(name, {"_id": 1, "n": 0})])
        await asyncio.gather(*(records.write([Update(name, {"_id": 1}, {"$inc": {"n": 1}})]) for _ in range(50)))
        assert await records.find(name) == [{"_id": 1, "n": 50}]

    @promise()
    async def test_what_the_caller_changes_afterwards_is_not_written(self, records: RecordStore) -> None:
        name = self.new_name()
        document = {"_id": 1, "a": [1]}
        writing = asyncio.ensure_future(records.write([Put(name, document)]))
        await writing
        document["a"] = [2]
        assert await records.find(name) == [{"_id": 1, "a": [1]}]

    @promise()
    async def test_a_caller_who_gives_up_harms_no_other(self, records: RecordStore) -> None:
        name = self.new_name()
        writes = [asyncio.ensure_future(records.write([Put(name, {"_id": each})])) for each in range(30)]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        await asyncio.gather(*writes, return_exceptions=True)
        await records.write([Put(name, {"_id": "last"})])
        found = await self._all(records, name)
        assert {each for each in range(30) if each % 2} | {"last"} <= set(found)

    @promise("reopening")
    async def test_what_was_written_outlives_the_store(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.write([Put(name, {"_id": 1, "a": [None, 1.5]})])
        async with self.client() as again:
            assert await again.find(name) == [{"_id": 1, "a": [None, 1.5]}]

    @promise("reopening")
    async def test_closing_finishes_what_was_begun(self, records: RecordStore) -> None:
        name = self.new_name()
        store = self.make_store()
        await store.connect()
        other = self.offered(store)
        writes = [asyncio.ensure_future(other.write([Put(name, {"_id": each})])) for each in range(20)]
        await asyncio.sleep(0)
        await store.close()
        ends = await asyncio.gather(*writes, return_exceptions=True)
        assert await records.count(name) == sum(end is None for end in ends)
