"""What only MongoDB has: change streams that go on after outages, time series, and shards."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from aats_store_mongodb import MongoChanges, MongoCollections
from bson import Decimal128, Int64, ObjectId, Regex

from aats_core.errors import StoreError, StoreUnavailable
from aats_core.message import new_id
from aats_core.store import RecordStore

DRIVERS = ("pymongo", "motor")

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("forgotten_sockets"),
]


@asynccontextmanager
async def opened(store):
    await store.connect()
    try:
        yield [
            next(each for each in store.capabilities if isinstance(each, kind))
            for kind in (RecordStore, MongoChanges, MongoCollections)
        ]
    finally:
        await store.close()


async def taken(stream, count):
    async with asyncio.timeout(60):
        return [await anext(stream) for _ in range(count)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_changes_come_in_order_from_the_moment_of_entering_on(make_store, driver):
    async def scenario():
        name = f"changes_{new_id()}"
        async with opened(make_store(driver=driver)) as (records, changes, _):
            await records.insert(name, {"_id": 0})
            async with changes.watch(name) as stream:
                await records.insert(name, {"_id": 1, "n": 1})
                await records.update(name, {"_id": 1}, {"$inc": {"n": 1}})
                await records.delete(name, {"_id": 0})
                found = await taken(stream, 3)
            assert [(each.kind, each.id, each.document) for each in found if each.kind != "insert"] == [
                ("update", 1, {"_id": 1, "n": 2}),
                ("delete", 0, None),
            ]
            assert (found[0].kind, found[0].id) == ("insert", 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stream_goes_on_after_the_token_that_was_kept(make_store, driver):
    async def scenario():
        name = f"resumed_{new_id()}"
        async with opened(make_store(driver=driver)) as (records, changes, _):
            async with changes.watch(name) as stream:
                begin = stream.token
                await records.insert(name, {"_id": 1}, {"_id": 2})
                (first,) = await taken(stream, 1)
                assert stream.token == first.token
            await records.insert(name, {"_id": 3})
            async with changes.watch(name, after=first.token) as stream:
                assert [each.id for each in await taken(stream, 2)] == [2, 3]
            async with changes.watch(name, after=begin) as stream:
                assert [each.id for each in await taken(stream, 3)] == [1, 2, 3]
            with pytest.raises(StoreError):
                async with changes.watch(name, after="nonsense") as stream:
                    await anext(stream)

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_change_is_lost_or_repeated_over_a_kill_or_where_waiting_is_cancelled(own_server, make_store, driver):
    async def scenario():
        name, count = f"outage_{new_id()}", 30
        async with opened(make_store(driver=driver, timeout=5)) as (records, changes, _):
            async with changes.watch(name) as stream:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(stream), 0.1)
                seen = []

                async def read():
                    seen.extend(await taken(stream, count))

                reading = asyncio.create_task(read())
                for number in range(count):
                    if number == count // 2:
                        await asyncio.to_thread(own_server.kill)
                        await asyncio.to_thread(own_server.start)
                    while True:
                        try:
                            await records.update(name, {"_id": number}, {"$set": {"a": 1}}, upsert=True)
                            break
                        except StoreUnavailable:
                            await asyncio.sleep(0.05)
                await asyncio.wait_for(reading, 60)
            assert [each.id for each in seen] == list(range(count))

    asyncio.run(scenario())


def test_the_end_of_a_collection_is_told(make_store):
    async def scenario():
        name = f"dropped_{new_id()}"
        store = make_store()
        async with opened(store) as (records, changes, _):
            await records.insert(name, {"_id": 0})
            async with changes.watch(name) as stream:
                await store._database.collection(name).drop()
                with pytest.raises(StoreError, match="dropped"):
                    await asyncio.wait_for(anext(stream), 60)

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_other_programs_wrote_comes_as_it_is_and_numbers_as_they_are_here(make_store, driver):
    async def scenario():
        name, key = f"others_{new_id()}", ObjectId()
        wrote = {
            "_id": key,
            "n": Int64(1),
            "many": [Int64(2**40), {"d": Decimal128("1.50")}],
            "r": Regex("a"),
            "s": "x",
        }
        plain = {"_id": 1, "n": Int64(7), "d": [Decimal128("0.1")]}
        async with opened(make_store(driver=driver)) as (records, changes, _):
            target = records._database.collection(name)
            async with changes.watch(name) as stream:
                await target.insert_many([plain, wrote])
                seen = [each.document for each in await taken(stream, 2)]
            read = await records.find(name), await records.aggregate(name, [{"$match": {}}]), seen
            streamed = [each async for each in records.stream(name)]
        for first, second in (*read, streamed):
            assert repr(first) == repr({"_id": 1, "n": 7, "d": [Decimal("0.1")]})
            assert repr(second) == repr({**wrote, "n": 1, "many": [2**40, {"d": Decimal("1.50")}]})

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_time_series_is_made_filled_and_read(make_store, driver):
    async def scenario():
        name, begin = f"series_{new_id()}", datetime(2026, 1, 1, tzinfo=UTC)
        async with opened(make_store(driver=driver)) as (records, _, collections):
            assert await collections.make_time_series(name, time="at", source="of", expire_after=10**9)
            assert not await collections.make_time_series(name, time="at", source="of", expire_after=10**9)
            measured = [{"at": begin + timedelta(seconds=n), "of": f"s{n % 2}", "value": n} for n in range(100)]
            await collections.append(name, *measured)
            await records.insert(name, {"at": begin, "of": "s0", "value": 100})
            sums = await records.aggregate(
                name, [{"$group": {"_id": "$of", "sum": {"$sum": "$value"}}}, {"$sort": {"_id": 1}}]
            )
            assert sums == [{"_id": "s0", "sum": 2550}, {"_id": "s1", "sum": 2500}]
            with pytest.raises(StoreError, match="at"):
                await collections.append(name, {"of": "s0"})

    asyncio.run(scenario())


def test_what_is_no_cluster_spreads_nothing_and_says_so(make_store):
    async def scenario():
        async with opened(make_store()) as (_, _, collections):
            with pytest.raises(StoreError, match="no sharded cluster"):
                await collections.shard("c", {"_id": "hashed"})

    asyncio.run(scenario())
