"""What is the PostgreSQL store's own."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aats_store_postgres import PostgresStore
from pydantic import ValidationError

from aats_core.errors import Conflict, DuplicateKey, InvalidDocument, InvalidQuery, SchemaMismatch, StateTooNew
from aats_core.message import new_id
from aats_core.query import matcher, parse_filter, sorted_by
from aats_core.query.values import sort_key
from aats_core.store import GraphStore, Index, Insert, KeyValueStore, Put, RecordStore, Relation, Require, Schema

NASTY = (
    "'; DROP TABLE aats.collections; --",
    "') OR ('1'='1",
    "\\'; SELECT pg_sleep(10); --",
    "$1::text",
    "$$; DROP SCHEMA aats CASCADE; $$",
    'x" OR true; --',
    "E'\\x27 OR 1=1",
    "\u02bc OR 1=1 --",
    "/* */ UNION SELECT body FROM aats.keys --",
    "\2\x30:text\2",
    "\3text\3",
    "{0} %s %(x)s :name ?",
    "\U0010ffffn5",
    "a\0b",
    "\1\1",
)


def offered(store: PostgresStore, kind: Any) -> Any:
    return next(each for each in store.capabilities if isinstance(each, kind))


def run(scenario: Any, opened: Any, **options: Any) -> None:
    """Run a scenario with the records of a store, and the store."""

    async def main() -> None:
        async with opened(**options) as store:
            await asyncio.wait_for(scenario(offered(store, RecordStore), store), 60)

    asyncio.run(main())


class TestNothingIsCode:
    def test_values_and_names_of_documents(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            name = f"nasty_{new_id()}"
            names = [text.replace("\0", "").replace(".", "").lstrip("$") for text in NASTY]
            await records.insert(
                name, *({"_id": text, field: text, "list": [text]} for text, field in zip(NASTY, names, strict=True))
            )
            for text, field in zip(NASTY, names, strict=True):
                for wanted in (
                    {"_id": text},
                    {field: text},
                    {"list": text},
                    {"list": {"$elemMatch": {"$eq": text}}},
                    {"_id": {"$in": [text]}},
                    {field: {"$gte": text, "$lte": text}},
                    {"$or": [{field: {"$in": [text, 1]}}]},
                    {"$nor": [{"_id": {"$ne": text}}]},
                ):
                    found = await records.find(name, wanted, sort={field: 1})
                    assert text in [each["_id"] for each in found], wanted
                    assert len(found) < len(NASTY), wanted
            assert await records.count(name) == len(NASTY)

        run(scenario, opened)

    def test_paths_of_indexes_sorts_updates_and_pipelines(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            for text in NASTY:
                name, field = f"nasty_{new_id()}", text.replace("\0", "").replace(".", "").lstrip("$")
                await records.ensure(name, Schema(indexes=(Index({field: 1, f"a.{field}": -1}, unique=True),)))
                await records.ensure(name, Schema(indexes=(Index({field: 1}, text=True), Index({field: -1}))))
                await records.insert(name, {"_id": 1, field: 2}, {"_id": 2, field: 1})
                assert [each["_id"] for each in await records.find(name, sort={field: 1})] == [2, 1]
                await records.update(name, {field: 2}, {"$set": {f"a.{field}": text}})
                assert await records.count(name, {f"a.{field}": text}) == 1
                groups = await records.aggregate(name, [{"$group": {"_id": f"${field}", "n": {"$sum": 1}}}])
                assert sorted(group["_id"] for group in groups) == [1, 2]
                assert await records.find(name, {"$text": {"$search": text}}) == []

        run(scenario, opened)

    @pytest.mark.parametrize("wrong", ["x; DROP TABLE y", "a b", "", "x'y", 'x"y', "\u00e9", "a" * 121, "$a", None])
    def test_names_of_collections(self, opened: Any, wrong: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            with pytest.raises(InvalidQuery, match="collection"):
                await records.find(wrong)
            with pytest.raises(InvalidQuery, match="collection"):
                await records.write([Put(wrong, {"_id": 1})])
            with pytest.raises(InvalidQuery, match="collection"):
                await records.aggregate(
                    "x", [{"$lookup": {"from": "y z", "localField": "a", "foreignField": "b", "as": "c"}}]
                )

        run(scenario, opened)

    def test_keys_locks_and_graphs(self, opened: Any) -> None:
        async def scenario(_: Any, store: Any) -> None:
            values, graphs = offered(store, KeyValueStore), offered(store, GraphStore)
            for text in (text for text in NASTY if "\0" not in text):
                await values.put(text, text)
                assert await values.get(text) == text
                assert await values.limit(text, rate=1000, per=1.0) == 0.0
                async with values.lock(text, timeout=5.0) as lock:
                    assert lock.name == text
                await graphs.put_node(text, text, {text: text})
                await graphs.relate(text, Relation(text, text, "end", {text: text}))
                assert await graphs.node(text, text) == {text: text}
                assert await graphs.neighbours(text, text, kind=text) == ["end"]
                await graphs.search(text, text)

        run(scenario, opened)

    @pytest.mark.parametrize("wrong", ["x; DROP", "X", "1a", 'a"b', "a" * 32])
    def test_the_name_of_the_schema(self, wrong: str) -> None:
        with pytest.raises(ValidationError):
            PostgresStore.Settings(db_schema=wrong)


class TestQueries:
    def test_an_index_is_used_for_equality_ranges_order_and_elements(self, opened: Any) -> None:
        async def scenario(records: Any, store: Any) -> None:
            name = f"plans_{new_id()}"
            await records.ensure(name, Schema(indexes=(Index({"a": 1}), Index({"tags": 1}), Index({"b.c": -1}))))
            await records.insert(name, *({"a": f"v{i}", "b": {"c": i}, "tags": [f"t{i}", "all"]} for i in range(3000)))
            pool, table = store.native, await _table(store, name)
            await pool.execute(f"ANALYZE {table}")
            for wanted, options in (
                ({"a": "v17"}, {}),
                ({"b.c": {"$lt": 5}}, {}),
                ({"tags": "t17"}, {}),
                ({}, {"sort": {"a": 1}, "limit": 3}),
                ({"_id": {"$in": ["x", "y"]}}, {}),
            ):
                plan = await _plan_of(records, store, name, wanted, options)
                assert "Index Scan" in plan, plan
                assert "Seq Scan" not in plan.split("SubPlan")[0].split("InitPlan")[0], plan

        run(scenario, opened)

    def test_an_index_goes_to_what_is_asked_for_and_not_through_all_of_its_class(self, opened: Any) -> None:
        async def scenario(records: Any, store: Any) -> None:
            name = f"pages_{new_id()}"
            await records.ensure(name, Schema(indexes=(Index({"a": 1}), Index({"n": 1}))))
            await records.insert(name, *({"a": f"value {number:06}", "n": number} for number in range(5000)))
            await store.native.execute(f"ANALYZE {await _table(store, name)}")
            for wanted in ({"a": "value 004321"}, {"n": 4321}, {"a": {"$gt": "value 004998"}}, {"n": {"$lt": 2}}):
                plan = await _plan_of(records, store, name, wanted, {}, "ANALYZE, BUFFERS, TIMING OFF")
                execution = plan.partition("Planning:")[0]
                pages = max(map(int, re.findall(r"(?:hit|read)=(\d+)", execution)))
                assert pages < 15, plan

        run(scenario, opened)

    def test_text_is_found_whatever_its_case_and_accents(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            name = f"texts_{new_id()}"
            await records.ensure(name, Schema(indexes=(Index({"t": 1}, text=True),)))
            await records.insert(name, {"_id": 1, "t": "Caf\u00e9 Z\u00fcrich"}, {"_id": 2, "t": ["tea", "\u00c9COLE"]})
            for search, wanted in (("cafe", [1]), ("ZU\u0308RICH", [1]), ("ecole", [2]), ('"tea ecole"', [])):
                found = [each["_id"] for each in await records.find(name, {"$text": {"$search": search}})]
                assert found == wanted, search
            both = {"$text": {"$search": "cafe"}, "t": {"$regex": "rich$"}}
            assert await records.count(name, both) == 1

        run(scenario, opened)

    def test_pages_of_what_python_has_to_decide_are_those_of_the_evaluator(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            name = f"pages_{new_id()}"
            values: list[Any] = [
                {"b": 1},
                {"b": 2},
                [{"b": 1}, {"b": 3}],
                [{"b": 2}],
                [],
                None,
                {"b": [1, 2]},
                [[{"b": 1}]],
            ]
            documents = [{"_id": n, "a": values[n % 8], "n": -n, "LIMIT ALL": n % 5} for n in range(40)]
            await records.insert(name, *documents)
            for wanted in ({"a.b": 1}, {"a.b": {"$ne": 1}}, {"a": {"b": 1}}, {"a.b": {"$gt": 1}, "n": {"$lt": -3}}):
                found = sorted_by(filter(matcher(parse_filter(wanted)), documents), ((("LIMIT ALL",), -1), (("n",), 1)))
                order = {"LIMIT ALL": -1, "n": 1}
                assert await records.count(name, wanted) == len(found)
                for skip, limit in ((0, 1), (0, 3), (2, 4), (1, None), (50, 5)):
                    page = await records.find(name, wanted, sort=order, skip=skip, limit=limit)
                    assert page == found[skip : None if limit is None else skip + limit], (wanted, skip, limit)
                    some = await records.find(name, wanted, skip=skip, limit=limit)
                    assert len(some) == len(page)
                    assert all(each in found for each in some)

        run(scenario, opened)

    def test_ids_sort_by_their_values(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            name = f"ids_{new_id()}"
            ids = [None, float("nan"), float("-inf"), -(2**63), -1.25, -1.2, Decimal("-0.1"), 0, 5e-324, 0.1]
            ids += [Decimal("0.11"), 1, 9, 10, 99, 100, 2**53 + 1, 1e300, float("inf"), "", "a", "a\0", "a\1", "b"]
            ids += ["\U0010ffff", {"a": 1}, b"", b"z", b"aa", False, True, datetime(1, 1, 1, tzinfo=UTC)]
            await records.insert(name, *({"_id": each} for each in reversed(ids)))
            found = [each["_id"] for each in await records.find(name, sort={"_id": 1})]
            assert list(map(sort_key, found)) == list(map(sort_key, ids))
            for pivot in (x for x in ids if x is not None and not isinstance(x, dict)):
                above = await records.find(name, {"_id": {"$gt": pivot}}, sort={"_id": 1})
                assert all(sort_key(each["_id"]) > sort_key(pivot) for each in above)

        run(scenario, opened)

    def test_an_id_that_no_index_can_hold_is_refused(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            with pytest.raises(InvalidDocument, match="too long"):
                await records.insert("ids", {"_id": "x" * 5000})
            assert await records.find("ids", {"_id": "x" * 5000}) == []

        run(scenario, opened)

    def test_long_texts_can_be_indexed_and_are_told_apart(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            name = f"long_{new_id()}"
            await records.ensure(name, Schema(indexes=(Index({"a": 1}, unique=True),)))
            long = "x" * 100_000
            await records.insert(name, {"_id": 1, "a": f"{long}2"}, {"_id": 2, "a": f"{long}1"}, {"_id": 3, "a": long})
            assert [each["_id"] for each in await records.find(name, sort={"a": 1})] == [3, 2, 1]
            assert [each["_id"] for each in await records.find(name, {"a": f"{long}1"})] == [2]
            assert await records.count(name, {"a": {"$gt": f"{long}1"}}) == 1
            assert await records.count(name, {"a": {"$in": [f"{long}1", long]}}) == 2
            with pytest.raises(DuplicateKey, match="same a"):
                await records.insert(name, {"a": long})

        run(scenario, opened)

    def test_many_who_ask_for_single_documents_get_their_own(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            name, other = f"one_{new_id()}", f"other_{new_id()}"
            for each in (name, other):
                await records.insert(each, *({"_id": number, "in": each} for number in range(50)))
            asked = [(each, number) for number in range(100) for each in (name, other)]
            found = await asyncio.gather(*(records.find(each, {"_id": number}, limit=1) for each, number in asked))
            assert found == [[{"_id": n, "in": each}] if n < 50 else [] for each, n in asked]

        run(scenario, opened, pool=2)


async def _table(store: PostgresStore, name: str) -> str:
    row = await store.native.fetchrow("SELECT id FROM aats.collections WHERE name = $1", name)
    return await store.native.fetchval(
        "SELECT 'aats.' || relname FROM pg_class WHERE relname LIKE $1 AND relkind = 'r'", f"c{row['id']}\\_%"
    )


async def _plan_of(records: Any, store: Any, name: str, filter: Any, options: Any, told: str = "COSTS") -> str:
    from aats_store_postgres.session import Session

    seen: list[tuple[str, Any]] = []
    original = Session.fetch

    async def fetch(self: Any, sql: str, *arguments: Any) -> Any:
        seen.append((sql, arguments))
        return await original(self, sql, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "fetch", fetch)
        await records.find(name, filter, **options)
    sql, arguments = seen[-1]
    return "\n".join(row[0] for row in await store.native.fetch(f"EXPLAIN ({told}) {sql}", *arguments))


class TestSeveralClients:
    def test_a_schema_that_another_client_changes_binds_at_once(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            async with opened() as second:
                other, name = offered(second, RecordStore), f"changed_{new_id()}"
                await other.insert(name, {"_id": 0, "a": 1})
                await records.ensure(name, Schema(json_schema={"required": ["a"]}))
                with pytest.raises(SchemaMismatch):
                    await other.insert(name, {"_id": 1})
                await records.ensure(name, Schema(indexes=(Index({"a": 1}, unique=True),)))
                for attempt in (
                    lambda: other.insert(name, {"_id": 2, "a": 1}),
                    lambda: other.write([Put(name, {"_id": 2, "a": 1})]),
                    lambda: other.update(name, {"_id": 2}, {"$set": {"a": 1}}, upsert=True),
                    lambda: other.insert(name, *({"_id": f"many {each}", "a": 1} for each in range(100))),
                ):
                    with pytest.raises(DuplicateKey):
                        await attempt()
                    await records.ensure(name, Schema(indexes=(Index({new_id(): 1}),)))
                assert await other.find(name) == [{"_id": 0, "a": 1}]

        run(scenario, opened)

    def test_a_collection_that_many_make_at_once_is_one(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            async with opened() as second:
                name = f"made_{new_id()}"
                clients = [records, offered(second, RecordStore)] * 10
                await asyncio.gather(
                    *(each.write([Put(name, {"_id": number})]) for number, each in enumerate(clients)),
                    *(each.ensure(name, Schema(indexes=(Index({"a": 1}),))) for each in clients[:6]),
                )
                assert await records.count(name) == len(clients)

        run(scenario, opened)

    def test_one_of_those_who_require_the_same_state_wins_over_several_clients(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            async with opened() as second:
                name = f"fence_{new_id()}"
                await records.insert(name, {"_id": "fence", "token": 0})
                for token in range(10):
                    fence = Require(name, {"_id": "fence", "token": token})
                    taken = Put(name, {"_id": "fence", "token": token + 1})
                    ends = await asyncio.gather(
                        *(
                            each.write([fence, taken, Insert(name, {"_id": f"{token} {number}"})])
                            for number, each in enumerate([records, offered(second, RecordStore)] * 5)
                        ),
                        return_exceptions=True,
                    )
                    assert ends.count(None) == 1, ends
                    assert all(end is None or isinstance(end, Conflict) for end in ends)
                assert await records.count(name) == 11

        run(scenario, opened)

    def test_crossing_writes_end(self, opened: Any) -> None:
        async def scenario(records: Any, _: Any) -> None:
            async with opened() as second:
                name, other = f"cross_{new_id()}", offered(second, RecordStore)
                await records.insert(name, *({"_id": each, "n": 0} for each in range(10)))
                ways = [range(10), range(9, -1, -1)] * 10
                writes = [
                    client.write([Put(name, {"_id": each, "n": number}) for each in way])
                    for number, way in enumerate(ways)
                    for client in (records, other)
                ]
                updates = [client.update(name, {}, {"$inc": {"n": 1}}) for client in (records, other) * 5]
                await asyncio.gather(*writes, *updates)
                assert len({each["n"] for each in await records.find(name)}) == 1

        run(scenario, opened)

    def test_namespaces_share_a_database_and_see_nothing_of_each_other(self, opened: Any, server: Any) -> None:
        from aats_core.clock import RealClock
        from aats_core.settings import TeamInfo

        async def scenario(records: Any, store: Any) -> None:
            other = PostgresStore(PostgresStore.Settings(dsn=server.url), TeamInfo(namespace="other"), RealClock())
            await other.connect()
            try:
                name = f"mine_{new_id()}"
                await records.insert(name, {"_id": 1})
                await offered(store, KeyValueStore).put(name, 1)
                assert await offered(other, RecordStore).find(name) == []
                assert await offered(other, KeyValueStore).get(name) is None
            finally:
                await other.close()

        run(scenario, opened)


class TestTheServer:
    def test_a_slow_statement_is_logged_with_its_plan_and_without_its_values(
        self, opened: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def scenario(records: Any, _: Any) -> None:
            name = f"slow_{new_id()}"
            await records.insert(name, {"_id": "private"})
            async with asyncio.timeout(20):
                while "Seq Scan" not in caplog.text:
                    await records.find(name, {"a": "private"})
                    await asyncio.sleep(0.01)

        caplog.set_level(logging.WARNING, "aats.store.postgres")
        run(scenario, opened, slow=1e-9)
        assert "private" not in caplog.text

    def test_what_a_newer_version_made_is_left_alone(self, opened: Any, server: Any) -> None:
        async def scenario(_: Any, store: Any) -> None:
            space = f"new_{new_id().replace('-', '')[:20]}".lower()
            async with opened(db_schema=space):
                await store.native.execute(f"UPDATE {space}.layout SET version = 99")
            with pytest.raises(StateTooNew, match=space):
                async with opened(db_schema=space):
                    pass

        run(scenario, opened)

    def test_the_pool_of_native_is_the_callers_own(self, opened: Any) -> None:
        async def scenario(records: Any, store: Any) -> None:
            async with store.native.acquire() as connection:
                await connection.execute("SET search_path TO nowhere")
                await records.insert(f"own_{new_id()}", {"_id": 1})
            async with store.native.acquire() as connection:
                assert await connection.fetchval("SHOW search_path") != "nowhere"

        run(scenario, opened, pool=2)

    def test_sessions_are_left_clean(self, opened: Any) -> None:
        async def scenario(records: Any, store: Any) -> None:
            name = f"clean_{new_id()}"
            for _ in range(5):
                await records.insert(name, {"_id": new_id()})
                async with records.transaction() as inside:
                    await inside.find(name)
                with pytest.raises(InvalidQuery):
                    async with records.transaction() as inside:
                        await inside.update(name, {}, {"$inc": {"_id": 1}})
                with pytest.raises(DuplicateKey):
                    await records.insert(name, {"_id": 1}, {"_id": 1})
            rows = await store.native.fetch(
                "SELECT state, count(*) FROM pg_stat_activity WHERE application_name = 'aats' AND state <> 'idle'"
                " GROUP BY state"
            )
            assert rows == []
            locks = await store.native.fetchval(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE application_name = 'aats' AND locktype = 'advisory'"
            )
            assert locks == 0

        run(scenario, opened, pool=2)
