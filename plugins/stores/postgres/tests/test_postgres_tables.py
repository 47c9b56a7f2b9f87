"""Typed columns, partitions and advice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from aats_store_postgres import PostgresStore, PostgresTables, advice

from aats_core.clock import VirtualClock
from aats_core.errors import DuplicateKey, InvalidQuery, SchemaMismatch
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from aats_core.store import Index, Put, RecordStore, Schema

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def offered(store: PostgresStore, kind: Any) -> Any:
    return next(each for each in store.capabilities if isinstance(each, kind))


def run(scenario: Any, opened: Any) -> None:
    """Run a scenario with the records, the tables and the native pool of a store."""

    async def main() -> None:
        async with opened() as store, asyncio.timeout(120):
            await scenario(offered(store, RecordStore), offered(store, PostgresTables), store.native)

    asyncio.run(main())


class TestColumns:
    SCHEMA: ClassVar[dict[str, Any]] = {
        "properties": {
            "name": {"type": "string"},
            "n": {"type": "integer"},
            "size": {"type": ["number", "null"]},
            "ok": {"type": "boolean"},
            "at": {"format": "date-time"},
            'it\'s "x"; --': {"type": "string"},
            "tags": {"type": "array"},
            "any": {},
            "mixed": {"type": ["string", "integer"]},
            "long " * 20: {"type": "string"},
        }
    }

    def test_scalar_properties_are_typed_in_a_view(self, opened: Any) -> None:
        async def scenario(records: Any, tables: Any, native: Any) -> None:
            name, strange = f"typed_{new_id()}"[:40], 'it\'s "x"; --'
            await records.ensure(name, Schema(json_schema=self.SCHEMA))
            await records.insert(name, {"_id": "old", "name": "Ada", "n": 2**62, "size": Decimal("1.5"), strange: "y"})
            made = await tables.columns(name)
            assert made.types == {
                "name": "text",
                "n": "bigint",
                "size": "numeric",
                "ok": "boolean",
                "at": "timestamptz",
                strange: "text",
            }
            await records.write([Put(name, {"_id": "new", "ok": True, "size": 2, "at": NOON, "tags": ["a"], "n": 1})])
            rows = {row["_id"]: dict(row) for row in await native.fetch(f"SELECT * FROM {made.view}")}
            assert rows["old"]["name"] == "Ada"
            assert (rows["old"]["n"], rows["old"]["size"]) == (2**62, Decimal("1.5"))
            assert (rows["old"][strange], rows["old"]["ok"], rows["old"]["at"]) == ("y", None, None)
            assert (rows["new"]["ok"], rows["new"]["size"], rows["new"]["at"]) == (True, 2, NOON)
            assert await native.fetchval(f"SELECT sum(n) FROM {made.view} WHERE at > '2026-01-01'") == 1

        run(scenario, opened)

    def test_columns_follow_the_schema_and_refuse_no_document(self, opened: Any) -> None:
        async def scenario(records: Any, tables: Any, native: Any) -> None:
            name = f"typed_{new_id()}"[:40]
            await records.insert(name, {"_id": 1, "a": "text", "b": 2**70 * 1.0}, {"_id": 2, "a": 1.5, "b": [1]})
            await records.ensure(name, Schema(json_schema={"properties": {"a": {"type": "integer"}}}))
            made = await tables.columns(name)
            assert [row["a"] for row in await native.fetch(f"SELECT a FROM {made.view}")] == [None, None]
            schema = {"properties": {"a": {"type": "number"}, "b": {"type": "integer"}}}
            await records.ensure(name, Schema(json_schema=schema, indexes=(Index({"a": 1}),)))
            made = await tables.columns(name)
            assert made.types == {"a": "numeric", "b": "bigint"}
            await records.insert(name, {"_id": 3, "a": 2.5, "b": 3})
            with pytest.raises(SchemaMismatch):
                await records.insert(name, {"_id": 4, "a": "no"})
            rows = await native.fetch(f"SELECT a, b FROM {made.view} ORDER BY a, b")
            assert [tuple(row) for row in rows] == [(Decimal("1.5"), None), (Decimal("2.5"), 3), (None, None)]
            assert await tables.columns(name) == made

        run(scenario, opened)


class TestPartitions:
    def test_a_collection_divided_by_hash_does_all_it_did(self, opened: Any) -> None:
        async def scenario(records: Any, tables: Any, native: Any) -> None:
            name = f"divided_{new_id()}"[:40]
            schema = Schema(
                indexes=(Index({"n": 1}), Index({"u": 1}, unique=True), Index({"t": 1}, text=True)),
                json_schema={"properties": {"n": {"type": "integer"}}},
            )
            await records.ensure(name, schema)
            await records.insert(name, *({"_id": n, "n": n, "u": n, "t": f"word{n}"} for n in range(100)))
            view = (await tables.columns(name)).view
            async with opened() as other:
                others = offered(other, RecordStore)
                assert await others.count(name) == 100
                await tables.partition_by_hash(name, 4)
                assert await others.count(name, {"n": {"$gte": 50}}) == 50
                await others.insert(name, *({"_id": n, "n": n, "u": n} for n in range(100, 300)))
            with pytest.raises(DuplicateKey):
                await records.insert(name, {"_id": 5})
            with pytest.raises(DuplicateKey):
                await records.insert(name, {"_id": "x", "u": 5})
            assert [each["_id"] for each in await records.find(name, {"$text": {"$search": "word7"}})] == [7]
            assert [each["_id"] for each in await records.find(name, sort={"n": -1}, limit=2)] == [299, 298]
            assert (await records.update(name, {"n": {"$lt": 10}}, {"$inc": {"n": 1000}})).modified == 10
            assert await native.fetchval(f"SELECT count(*) FROM {view} WHERE n >= 1000") == 10
            await records.ensure(name, Schema(indexes=(Index({"v": 1}),)))
            assert await records.delete(name, {"n": {"$gte": 1000}}) == 10
            await records.insert(name, {"_id": 5, "u": 5})
            tables_used = await native.fetch(f"SELECT DISTINCT tableoid FROM {await _table(native, name)}")
            assert len(tables_used) == 4

        run(scenario, opened)

    def test_the_past_of_a_collection_divided_by_time_is_dropped(self, opened: Any) -> None:
        async def scenario(records: Any, tables: Any, native: Any) -> None:
            name = f"log_{new_id()}"[:40]
            await records.ensure(name, Schema(indexes=(Index({"n": 1}, unique=True),)))
            days = [datetime.now(UTC) - timedelta(days=each) for each in (400, 90, 60, 0)]
            await records.insert(name, *({"_id": f"{day.isoformat()}-{n}", "n": n} for n, day in enumerate(days)))
            await records.insert(name, {"_id": "elsewhere", "n": "x"}, {"_id": 17})
            await tables.partition_by_time(name, "month")
            soon = f"{(datetime.now(UTC) + timedelta(days=40)).isoformat()}-soon"
            await records.insert(name, {"_id": soon, "n": soon})
            assert await records.count(name) == 7
            dropped = await tables.drop_before(name, days[1].replace(day=1))
            assert dropped >= 10
            assert sorted(str(each["_id"]) for each in await records.find(name)) == sorted(
                ["17", "elsewhere", soon, *(f"{day.isoformat()}-{n}" for n, day in enumerate(days) if n)]
            )
            await records.insert(name, {"_id": "again", "n": 0})
            assert await tables.drop_before(name, days[1].replace(day=1)) == 0

        run(scenario, opened)

    def test_partitions_of_the_future_are_made_in_time(self, server: Any, tmp_path: Any) -> None:
        async def main() -> None:
            clock = VirtualClock()
            settings = PostgresStore.Settings(dsn=server.url, expiry_interval=60.0)
            store = PostgresStore(settings, TeamInfo(state_dir=tmp_path), clock)
            await store.connect()
            try:
                records, tables = offered(store, RecordStore), offered(store, PostgresTables)
                name = f"log_{new_id()}"[:40]
                await tables.partition_by_time(name, "day")
                table = await _table(store.native, name)
                later = datetime.now(UTC) + timedelta(days=9)
                await clock.advance(9 * 86_400)
                wanted = later.strftime("_%Y_%m_%d")
                async with asyncio.timeout(60):
                    while wanted not in "".join(await _partitions(store.native, table)):
                        await clock.advance(61)
                        await asyncio.sleep(0.01)
                await records.insert(name, {"_id": f"{later.isoformat()} x"})
                (row,) = await store.native.fetch(f"SELECT tableoid::regclass::text FROM {table}")
                assert row[0].endswith(wanted)
            finally:
                await store.close()

        asyncio.run(main())

    def test_what_cannot_be_divided(self, opened: Any) -> None:
        async def scenario(records: Any, tables: Any, _: Any) -> None:
            with pytest.raises(InvalidQuery, match="2 to 1000"):
                await tables.partition_by_hash("things", 1)
            with pytest.raises(ValueError, match="week"):
                await tables.partition_by_time("things", "week")
            name = f"ages_{new_id()}"[:40]
            await records.insert(name, {"_id": "0001-01-01"}, {"_id": "9999-12-31"})
            with pytest.raises(InvalidQuery, match="more than 1000 partitions"):
                await tables.partition_by_time(name, "month")
            assert await records.count(name) == 2

        run(scenario, opened)


class TestAdvice:
    def test_a_table_without_statistics_and_one_of_dead_rows_are_named(self, opened: Any, monkeypatch: Any) -> None:
        async def scenario(records: Any, tables: Any, native: Any) -> None:
            monkeypatch.setattr(advice, "_MANY_ROWS", 100)
            monkeypatch.setattr(advice, "_MUCH_DEAD", 100)
            name = f"care_{new_id()}"[:40]
            await records.insert(name, *({"_id": n} for n in range(1000)))
            table = await _table(native, name)
            await native.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
            await records.delete(name, {"_id": {"$lt": 500}})
            async with asyncio.timeout(60):
                while True:
                    found = [each for each in await tables.advice() if each.startswith(f"{table}:")]
                    if len(found) == 2:
                        break
                    await asyncio.sleep(0.1)
            assert any("run ANALYZE" in each for each in found)
            assert any("dead rows" in each for each in found)
            await native.execute(f"VACUUM (ANALYZE) {table}")
            async with asyncio.timeout(60):
                while any(each.startswith(f"{table}:") for each in await tables.advice()):
                    await asyncio.sleep(0.1)

        run(scenario, opened)


async def _table(native: Any, name: str) -> str:
    sql = "SELECT format('aats.%I', relname) FROM pg_class WHERE obj_description(oid, 'pg_class') LIKE $1"
    found: str = await native.fetchval(sql, f"documents of %.{name}")
    return found


async def _partitions(native: Any, table: str) -> list[str]:
    sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass"
    return [row[0] for row in await native.fetch(sql, table)]
