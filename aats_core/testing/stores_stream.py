"""Contract tests: results too large to hold are streamed."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from aats_core.errors import InvalidQuery
from aats_core.store import Index, RecordStore, Schema
from aats_core.testing.stores_harness import StoreHarness, promise

MANY = 2500
"""Documents: more than a store fetches at once."""
LEFT_EARLY = 60
"""Streams that are begun and not read to the end: more than a store has connections."""


class StreamPromises(StoreHarness[RecordStore]):
    """Tests of `RecordStore.stream`."""

    async def _numbers(self, records: RecordStore) -> str:
        name = self.new_name()
        await records.insert(name, *({"_id": n, "part": n % 5, "text": "x" * 50} for n in range(MANY)))
        return name

    @promise()
    async def test_a_stream_yields_each_document_once(self, records: RecordStore) -> None:
        name = await self._numbers(records)
        assert sorted([each["_id"] async for each in records.stream(name)]) == list(range(MANY))
        some = [each async for each in records.stream(name, {"part": 3}, projection={"part": 1})]
        assert sorted(each["_id"] for each in some) == list(range(3, MANY, 5))
        assert all(each.keys() == {"_id", "part"} for each in some)

    @promise()
    async def test_a_stream_can_be_sorted(self, records: RecordStore) -> None:
        name = await self._numbers(records)
        by_part = [each["_id"] async for each in records.stream(name, sort={"part": -1, "_id": 1})]
        assert by_part == sorted(range(MANY), key=lambda n: (-(n % 5), n))

    @promise()
    async def test_a_stream_sorts_mixed_values_as_find_does(self, records: RecordStore) -> None:
        name = self.new_name()
        values: list[Any] = [2, "a", None, [3, 0], {"b": 1}, True, 1.5, [], {"a": 2}]
        await records.insert(name, *({"_id": n, "a": value} for n, value in enumerate(values)))
        await self._compare(records, name)
        await records.ensure(name, Schema(indexes=(Index({"a": 1}),)))
        await self._compare(records, name)

    async def _compare(self, records: RecordStore, name: str) -> None:
        for direction in (1, -1):
            sort = {"a": direction, "_id": 1}
            streamed = [each async for each in records.stream(name, {"a": {"$ne": 2}}, sort=sort)]
            assert streamed == await records.find(name, {"a": {"$ne": 2}}, sort=sort)

    @promise()
    async def test_what_is_left_early_holds_nothing_up(self, records: RecordStore) -> None:
        name = await self._numbers(records)
        for n in range(LEFT_EARLY):
            async with aclosing(records.stream(name, sort={"_id": 1})) as stream:
                assert (await anext(stream))["_id"] == 0
                await records.insert(name, {"_id": MANY + n})
        assert await records.count(name) == MANY + LEFT_EARLY

    @promise()
    async def test_a_stream_of_nothing_ends_at_once(self, records: RecordStore) -> None:
        assert [each async for each in records.stream(self.new_name())] == []
        name = await self._numbers(records)
        assert [each async for each in records.stream(name, {"part": 9})] == []

    @promise()
    async def test_a_stream_of_what_is_no_query_is_refused(self, records: RecordStore) -> None:
        name = await self._numbers(records)
        async with self.expect(InvalidQuery, "$near"):
            await anext(records.stream(name, {"part": {"$near": 1}}))
        async with self.expect(InvalidQuery, "part"):
            await anext(records.stream(name, sort={"part": 2}))
