"""Records in Redis: what narrows a search down, what happens between clients, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aats_store_redis import RedisStore, database

from aats_core.errors import Conflict, DuplicateKey, InvalidDocument, InvalidQuery
from aats_core.store import Index, Insert, Put, RecordStore, Require, Schema, Update
from tests.services import RedisServer


def records_of(store: RedisStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, RecordStore))


async def documents_read(store: RedisStore, name: str, filter: dict[str, Any], caplog: pytest.LogCaptureFixture) -> int:
    """Return how many documents a search has read, as the log of slow ones says."""
    caplog.clear()
    await records_of(store).find(name, filter)
    (line,) = [each.getMessage() for each in caplog.records if "a search took" in each.getMessage()]
    return int(line.rsplit(", ", 1)[1].split()[0])


@pytest.mark.parametrize(
    ("filter", "most"),
    [
        ({"a": 3}, 10),
        ({"a": 3.0, "b": {"$lt": 1}}, 2),
        ({"a": {"$in": [1, 2]}, "b": 4}, 2),
        ({"a": {"$gte": 3, "$lt": 5}}, 30),
        ({"tags": "t7"}, 1),
        ({"$or": [{"a": 1}, {"tags": "t7"}]}, 11),
        ({"$and": [{"a": {"$gt": 8}}, {"c": 1}]}, 20),
        ({"at": {"$lt": datetime(2026, 1, 2, tzinfo=UTC)}}, 2),
        ({"$text": {"$search": "word7"}}, 1),
        ({"_id": {"$gt": 90}}, 100),
        ({"a": {"$ne": 3}}, 100),
    ],
)
def test_an_index_narrows_a_search_down(
    server: RedisServer, opened: Any, caplog: pytest.LogCaptureFixture, filter: dict[str, Any], most: int
) -> None:
    schema = Schema(
        indexes=(Index({"a": 1, "b": 1}), Index({"tags": 1}), Index({"at": -1}), Index({"text": 1}, text=True))
    )
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    async def scenario() -> None:
        async with opened(server.port, slow=1e-9) as store:
            records = records_of(store)
            await records.ensure("many", schema)
            many = [
                {"_id": n, "a": n % 10, "b": n // 10, "tags": [f"t{n}", "all"], "at": begin + timedelta(n)}
                | {"text": f"some word{n}", "c": n}
                for n in range(100)
            ]
            await records.insert("many", *many)
            assert await documents_read(store, "many", filter, caplog) <= most

    with caplog.at_level(logging.WARNING, "aats.store.redis"):
        asyncio.run(scenario())


@pytest.mark.parametrize("large", [False, True])
def test_a_collection_is_read_whole_at_once_or_in_parts(
    server: RedisServer, opened: Any, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    monkeypatch.setattr(database, "_SMALL_COLLECTION", 0 if large else 4 * 2**20)
    group = {"_id": "$kind", "n": {"$sum": 1}, "sum": {"$sum": "$value.x"}}

    async def scenario() -> None:
        async with opened(server.port) as store:
            records = records_of(store)
            many = [{"_id": n, "kind": n % 2, "value": {"x": n}, "more": "ä\U0010ffff"} for n in range(2500)]
            await records.insert("many", *many)
            groups = await records.aggregate("many", [{"$group": group}, {"$sort": {"_id": 1}}])
            assert groups == [{"_id": k, "n": 1250, "sum": sum(range(k, 2500, 2))} for k in (0, 1)]
            assert sorted(await records.find("many"), key=lambda each: each["_id"]) == many
            assert await records.count("many", {"kind": {"$ne": 0}}) == 1250

    asyncio.run(scenario())


def test_a_client_that_does_not_know_a_new_schema_yet_keeps_it_all_the_same(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as one, opened(server.port) as other:
            records, elsewhere = records_of(one), records_of(other)
            await elsewhere.insert("new", {"_id": 1, "a": 1})
            await records.ensure("new", Schema(indexes=(Index({"a": 1}, unique=True),)))
            with pytest.raises(DuplicateKey, match="same a"):
                await elsewhere.insert("new", {"_id": 2, "a": 1})
            await elsewhere.insert("new", {"_id": 3, "a": 3})
            assert await records.find("new", {"a": 3}) == [{"_id": 3, "a": 3}]
            await records.ensure("new", Schema(indexes=(Index({"t": 1}, text=True),)))
            await elsewhere.insert("new", {"_id": 4, "t": "hello world"})
            assert await elsewhere.count("new", {"$text": {"$search": "hello"}}) == 1

    asyncio.run(scenario())


def test_an_index_whose_making_was_cut_off_is_finished_the_next_time(
    server: RedisServer, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = Schema(indexes=(Index({"a": 1}), Index({"b": 1}, unique=True)))

    async def scenario() -> None:
        async with opened(server.port) as store:
            records = records_of(store)
            await records.insert("cut", *({"_id": n, "a": n % 3, "b": n} for n in range(30)))

            class Crash(Exception):
                pass

            async def crash(_: Any) -> None:
                raise Crash

            with monkeypatch.context() as patch:
                patch.setattr(store._database, "_build", crash)
                with pytest.raises(Crash):
                    await records.ensure("cut", schema)
            assert await records.count("cut", {"a": 1}) == 10, "a search does without it"
            await records.insert("cut", {"_id": 30, "a": 1, "b": 30})
        async with opened(server.port) as store:
            records = records_of(store)
            assert await records.count("cut", {"a": 1}) == 11
            await records.ensure("cut", schema)
            assert await records.count("cut", {"a": 1}) == 11
            with pytest.raises(DuplicateKey):
                await records.insert("cut", {"b": 3})

    asyncio.run(scenario())


def test_an_index_that_could_not_become_unique_leaves_nothing_behind(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            records = records_of(store)
            await records.insert("twice", {"_id": 1, "a": 1, "b": 2}, {"_id": 2, "a": 1, "b": 1})
            with pytest.raises(DuplicateKey, match="same a"):
                await records.ensure("twice", Schema(indexes=(Index({"a": 1}, unique=True),)))
            await records.update("twice", {"_id": 2}, {"$set": {"a": 5}})
            await records.ensure("twice", Schema(indexes=(Index({"b": 1}, unique=True),)))
            assert await records.count("twice", {"a": 5}) == 1
            assert await records.count("twice", {"b": 1}) == 1
            with pytest.raises(DuplicateKey, match="same b"):
                await records.insert("twice", {"b": 2})
            await records.update("twice", {"_id": 1}, {"$set": {"b": 3}})
            await records.insert("twice", {"_id": 3, "b": 2})

    asyncio.run(scenario())


def test_documents_are_indexed_while_others_write_them(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as one, opened(server.port) as other:
            records, elsewhere = records_of(one), records_of(other)
            await records.insert("live", *({"_id": n, "a": 0} for n in range(2000)))
            writing = asyncio.create_task(_increase(elsewhere, 300))
            await records.ensure("live", Schema(indexes=(Index({"a": 1}),)))
            await writing
            counts = [await records.count("live", {"a": a}) for a in (0, 1)]
            assert counts == [1700, 300]

    asyncio.run(scenario())


async def _increase(records: Any, count: int) -> None:
    for start in range(0, count, 10):
        ids = range(start, start + 10)
        await asyncio.gather(*(records.update("live", {"_id": each}, {"$inc": {"a": 1}}) for each in ids))


def test_clients_who_change_the_same_documents_all_get_their_turn(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port, timeout=60.0) as one, opened(server.port, timeout=60.0) as other:
            both = [records_of(one), records_of(other)]
            await both[0].insert("shared", *({"_id": n, "n": 0, "kind": "x"} for n in range(3)))
            by_id = [records.update("shared", {"_id": 1}, {"$inc": {"n": 1}}) for records in both for _ in range(20)]
            found = [
                records.write([Update("shared", {"kind": "x"}, {"$inc": {"n": 1}})])
                for records in both
                for _ in range(5)
            ]
            await asyncio.gather(*by_id, *found)
            counts = await both[0].find("shared", sort={"_id": 1})
            assert [each["n"] for each in counts] == [10, 50, 10]

    asyncio.run(scenario())


def test_of_upserts_at_the_same_time_one_makes_the_document(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as one, opened(server.port) as other:
            both = [records_of(one), records_of(other)]
            await both[0].ensure("made", Schema(indexes=(Index({"name": 1}, unique=True),)))
            for wanted in ({"_id": "x"}, {"name": "y"}):
                change = {"$inc": {"n": 1}}
                await asyncio.gather(
                    *(records.update("made", wanted, change, upsert=True) for records in both for _ in range(3))
                )
                (document,) = await both[0].find("made", wanted)
                assert document["n"] == 6

    asyncio.run(scenario())


def test_a_transaction_that_searched_conflicts_with_what_it_would_have_found(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            records = records_of(store)
            await records.insert("duty", {"_id": 1, "on": True}, {"_id": 2, "on": True})

            async def leave(who: int, meanwhile: Any) -> None:
                async with records.transaction() as inside:
                    if await inside.count("duty", {"on": True}) > 1:
                        await meanwhile()
                        await inside.update("duty", {"_id": who}, {"$set": {"on": False}})

            async def nothing() -> None:
                pass

            with pytest.raises(Conflict, match="begin it again"):
                await leave(1, lambda: leave(2, nothing))
            assert await records.find("duty", {"on": True}) == [{"_id": 1, "on": True}]

            async def stand_in() -> None:
                async with records.transaction() as inside:
                    assert await inside.find("duty", {"_id": 9}) == []
                    await records.insert("duty", {"_id": 9})
                    await inside.insert("duty", {"_id": 10})

            with pytest.raises(Conflict):
                await stand_in()
            assert await records.count("duty", {"_id": 10}) == 0

    asyncio.run(scenario())


def test_a_transaction_that_only_read_is_told_that_it_saw_no_one_state(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            records = records_of(store)
            await records.insert("sum", {"_id": 1, "n": 5}, {"_id": 2, "n": 5})
            move = [Update("sum", {"_id": 1}, {"$inc": {"n": -1}}), Update("sum", {"_id": 2}, {"$inc": {"n": 1}})]

            async def add() -> None:
                async with records.transaction() as inside:
                    (one,) = await inside.find("sum", {"_id": 1})
                    await records.write(move)
                    (other,) = await inside.find("sum", {"_id": 2})
                    assert one["n"] + other["n"] == 11

            with pytest.raises(Conflict):
                await add()
            async with records.transaction() as inside:
                assert await inside.find("sum", {"_id": 1}) == [{"_id": 1, "n": 4}]
                await records.insert("sum", {"_id": 3})

    asyncio.run(scenario())


def test_a_fence_holds_between_clients(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as one, opened(server.port) as other:
            both = [records_of(one), records_of(other)]
            await both[0].insert("fence", {"_id": "lease", "token": 0})
            for token in range(5):
                writes = [
                    records.write(
                        [
                            Require("fence", {"_id": "lease", "token": token}),
                            Put("fence", {"_id": "lease", "token": token + 1}),
                            Insert("fence", {"_id": f"by {number} at {token}"}),
                        ]
                    )
                    for number, records in enumerate(both * 3)
                ]
                ends = await asyncio.gather(*writes, return_exceptions=True)
                assert [type(end) for end in ends if end is not None] == [Conflict] * 5
            assert await both[0].count("fence") == 6

    asyncio.run(scenario())


def test_an_index_takes_ten_thousand_entries_of_a_document(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            records = records_of(store)
            await records.ensure("wide", Schema(indexes=(Index({"a": 1, "b": 1}),)))
            await records.insert("wide", {"_id": 1, "a": list(range(90)), "b": list(range(90))})
            assert await records.count("wide", {"a": 89, "b": 89}) == 1
            with pytest.raises(InvalidDocument, match="are the most"):
                await records.insert("wide", {"_id": 2, "a": list(range(200)), "b": list(range(200))})
            assert await records.count("wide") == 1

    asyncio.run(scenario())


def test_strange_names_are_refused(server: RedisServer, opened: Any) -> None:
    async def scenario() -> None:
        async with opened(server.port) as store:
            for name in ("", "a b", "x{y}", "a:b", "\0"):
                with pytest.raises(InvalidQuery):
                    await records_of(store).insert(name, {"_id": 1})

    asyncio.run(scenario())
