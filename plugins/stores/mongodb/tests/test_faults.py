"""A real server that is killed, cut off or alone: nothing is lost, nobody hangs, and health says what is wrong."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pymongo
import pytest

from aats_core.errors import InvalidDocument, SchemaMismatch, StoreError, StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.message import new_id
from aats_core.store import Index, Put, RecordStore, Require, Schema
from aats_core.testing.stores_faults import KeyValueFaultContract, RecordFaultContract, RecordTruthContract
from plugins.stores.mongodb.tests.conftest import DATABASE
from plugins.stores.mongodb.tests.test_contract import ThroughMotor
from tests.services import MongoServer
from tests.services.faults import OnOwnServer

DRIVERS = ("pymongo", "motor")


pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("forgotten_sockets"),
]


@asynccontextmanager
async def connected(store):
    await store.connect()
    try:
        yield next(each for each in store.capabilities if isinstance(each, RecordStore))
    finally:
        await store.close()


async def put(records, name, *ids):
    """Write documents with these ids, again where a slow machine takes longer than the short time of a test allows."""

    async def is_written():
        try:
            await records.write([Put(name, {"_id": each}) for each in ids])
        except StoreUnavailable:
            return False
        return True

    await until(is_written)


async def until(condition, patience=30.0):
    async with asyncio.timeout(patience):
        while not await condition():
            await asyncio.sleep(0.05)


class OnMongo(OnOwnServer):
    rounds = 1
    unsure = None
    keeps_writing = True
    driver = "pymongo"

    @pytest.fixture(autouse=True)
    def _make_store(self, make_store):
        self._make = make_store

    def make_store(self, port=0, *, pool=100, **settings):
        url = self.server.address(port) if port else ""
        return self._make(url, driver=self.driver, pool_size=pool, **settings)


class TestFaults(OnMongo, RecordFaultContract, KeyValueFaultContract):
    pass


class TestTruthThroughMotor(OnMongo, ThroughMotor, RecordTruthContract):
    driver = "motor"


@pytest.mark.parametrize("driver", DRIVERS)
def test_reads_go_on_over_a_restart_of_the_server(own_server, make_store, driver):
    async def scenario():
        name = f"restart_{new_id()}"
        store = make_store(driver=driver, timeout=60)
        async with connected(store) as records:
            await records.insert(name, {"_id": 1})
            await store.capabilities[1].put(name, 1)
            await asyncio.to_thread(own_server.kill)
            reads = [
                asyncio.create_task(read)
                for _ in range(5)
                for read in (records.find(name), records.count(name), store.capabilities[1].get(name))
            ]
            await asyncio.to_thread(own_server.start)
            assert await asyncio.wait_for(asyncio.gather(*reads), 100) == [[{"_id": 1}], 1, 1] * 5

    asyncio.run(scenario())


def test_a_fence_holds_against_a_writer_in_another_process(make_store):
    async def scenario():
        name = f"fence_{new_id()}"
        async with connected(make_store()) as one, connected(make_store()) as other:
            await one.insert(name, {"_id": "leader", "token": 1})

            async def take_over():
                await other.update(name, {"_id": "leader"}, {"$set": {"token": 2}}, limit=1)

            async def write(number):
                await one.write([Require(name, {"_id": "leader", "token": 1}), Put(name, {"_id": number})])

            ends = await asyncio.gather(
                *(write(number) for number in range(10)),
                take_over(),
                *(write(number) for number in range(10, 20)),
                return_exceptions=True,
            )
            assert ends[10] is None
            written = {
                number for number, end in zip([*range(10), None, *range(10, 20)], ends, strict=True) if end is None
            }
            assert await one.count(name, {"_id": {"$gte": 0}}) == len(written - {None})
            with pytest.raises(StoreError):
                await write(99)
            assert await one.find(name, {"_id": "leader"}) == [{"_id": "leader", "token": 2}]

    asyncio.run(scenario())


class TestWithoutAReplicaSet:
    @pytest.fixture
    def url(self, service, tmp_path):
        service(MongoServer)
        alone = Alone(tmp_path)
        alone.start()
        yield alone.url
        alone.stop()

    def test_health_says_it_and_what_to_do(self, url, make_store):
        async def scenario():
            store = make_store(url)
            async with connected(store) as records:
                health = await store.health()
                assert health.status is HealthStatus.DEGRADED
                assert "--replSet" in health.detail
                await records.insert("c", {"_id": 1})
                with pytest.raises(StoreError, match="replica set"):
                    await records.write([Put("c", {"_id": 2}), Put("c", {"_id": 3})])
                assert await records.count("c") == 1

        asyncio.run(scenario())


class Alone(MongoServer):
    def command(self):
        words = super().command()
        at = words.index("--replSet")
        return words[:at] + words[at + 2 :]

    def answers(self):
        import pymongo

        try:
            with pymongo.MongoClient(self.address(self.port), serverSelectionTimeoutMS=200) as client:
                return bool(client.admin.command("ping")["ok"])
        except pymongo.errors.ConnectionFailure as error:
            raise OSError(str(error)) from error

    def address(self, port):
        return f"mongodb://127.0.0.1:{port}/"


def test_an_address_where_nobody_listens_is_refused_in_time(make_store):
    async def scenario():
        with pytest.raises(StoreUnavailable, match=r"cannot be reached \(127\.0\.0\.1:9: .*\)$") as caught:
            await make_store("mongodb://127.0.0.1:9/", timeout=1).connect()
        assert "Topology" not in str(caught.value)

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_document_over_the_servers_limit_is_refused_and_harms_no_other(make_store, driver):
    async def scenario():
        name, huge = f"large_{new_id()}", "x" * 17_000_000
        async with connected(make_store(driver=driver)) as records:
            ends = await asyncio.gather(
                records.write([Put(name, {"_id": "huge", "text": huge})]),
                records.insert(name, {"_id": "huge", "text": huge}),
                records.insert(name, {"_id": "small"}, {"_id": "huge", "text": huge}),
                records.write([Put(name, {"_id": "one"}), Put(name, {"_id": "two"})]),
                return_exceptions=True,
            )
            assert [type(end) for end in ends] == [InvalidDocument] * 3 + [type(None)]
            with pytest.raises(InvalidDocument, match="16 MB"):
                await records.insert(name, {"_id": "huge", "text": huge})
            half = "x" * 9_000_000
            await records.insert(name, {"_id": "grows", "a": half})
            with pytest.raises(StoreError):
                await records.update(name, {"_id": "grows"}, {"$set": {"b": half}})
            assert sorted(each["_id"] for each in await records.find(name, projection={"_id": 1})) == [
                "grows",
                "one",
                "two",
            ]

    asyncio.run(scenario())


def _sleeping(milliseconds):
    """Return a filter by which the server takes its time over each document."""
    return {"$where": f"sleep({milliseconds}) || true"}


def test_a_command_that_runs_too_long_is_ended_in_the_server_too(make_store):
    async def scenario():
        name = f"long_{new_id()}"
        store = make_store(timeout=2)
        async with connected(store) as records:
            await put(records, name, *range(100))
            database = records._database
            source = database.collection(name)
            with pytest.raises(StoreUnavailable, match=r"in time|longer than"), database.call(name, {"x": ""}):
                await asyncio.wait_for(source.find(_sleeping(1000)).to_list(None), 30)

            async def ended():
                running = await store.native.admin.command("currentOp", ns=f"{DATABASE}.{database.full_name(name)}")
                return not [each for each in running["inprog"] if each.get("op") == "query"]

            await until(ended)

            async def well():
                return (await store.health()).status is HealthStatus.OK

            await until(well)

    asyncio.run(scenario())


def test_who_finds_no_free_connection_is_told_why_and_the_pool_recovers(make_store):
    async def scenario():
        name = f"crowd_{new_id()}"
        async with connected(make_store(timeout=2, pool_size=1)) as records:
            await put(records, name, *range(50))
            with pymongo.timeout(60):
                busy = asyncio.create_task(records._database.collection(name).find(_sleeping(1000)).to_list(None))

            async def is_crowded():
                try:
                    await asyncio.wait_for(records.find(name), 30)
                except StoreUnavailable as error:
                    assert "larger pool_size" in str(error)  # noqa: PT017 - it may not be raised yet
                    return True
                return False

            await until(is_crowded)
            busy.cancel()
            await asyncio.wait([busy])

            async def works():
                try:
                    return len(await records.find(name)) == 50
                except StoreUnavailable:
                    return False

            await until(works)

    asyncio.run(scenario())


def test_slow_commands_are_logged_with_their_plan_and_without_values(make_store, caplog):
    async def scenario():
        name = f"slow_{new_id()}"
        async with connected(make_store(slow=1e-6)) as records:
            await records.ensure(name, Schema(indexes=(Index({"a": 1}),)))
            await records.insert(name, {"_id": 1, "a": "secret", "b": "secret"})

            async def logged(step, work):
                caplog.clear()
                await work()
                await until(lambda: asyncio.sleep(0, step in caplog.text))
                return True

            await logged("FETCH < IXSCAN a_1", lambda: records.find(name, {"a": "secret"}))
            await logged("COLLSCAN", lambda: records.update(name, {"b": "secret"}, {"$set": {"c": "secret"}}))
            assert "secret" not in caplog.text
            assert f"{name} " in caplog.text

    with caplog.at_level("WARNING", logger="aats.store.mongodb"):
        asyncio.run(scenario())


def test_a_document_is_held_to_the_newest_schema_before_it_travels(make_store):
    async def scenario():
        name = f"schema_{new_id()}"
        async with connected(make_store()) as one, connected(make_store()) as other:
            await one.ensure(name, Schema(json_schema={"properties": {"a": {"type": "integer"}}}))
            with pytest.raises(SchemaMismatch, match=rf"{name}: document 1 does not fit the schema: a: .*integer"):
                await one.insert(name, {"_id": 1, "a": "x"})
            with pytest.raises(SchemaMismatch, match=name):
                await other.insert(name, {"_id": 1, "a": "x"})  # which the server alone tells, for it did not know
            await other.ensure(name, Schema(json_schema={"properties": {"a": {"type": ["integer", "string"]}}}))
            await one.write([Put(name, {"_id": 1, "a": "x"})])
            with pytest.raises(SchemaMismatch, match=name):
                await one.update(name, {"_id": 1}, {"$set": {"a": []}})
            assert await other.find(name) == [{"_id": 1, "a": "x"}]

    asyncio.run(scenario())
