"""A real server that is killed, cut off or alone: nothing is lost, nobody hangs, and health says what is wrong."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from aats_core.errors import StoreError, StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.message import new_id
from aats_core.store import Insert, Put, RecordStore, Require
from tests.services import MongoServer
from tests.services.proxy import Fault, FaultProxy

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


async def until(condition, patience=30.0):
    async with asyncio.timeout(patience):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_was_confirmed_outlives_the_kill_of_the_server(own_server, make_store, driver):
    async def scenario():
        name = f"kill_{new_id()}"
        store = make_store(driver=driver, timeout=2)
        async with connected(store) as records:
            confirmed = []

            async def write():
                for number in range(1000):
                    try:
                        await records.write([Put(name, {"_id": number}), Put(name, {"_id": f"with {number}"})])
                    except StoreError:
                        return
                    confirmed.append(number)

            writers = [asyncio.create_task(write()) for _ in range(4)]
            await until(lambda: asyncio.sleep(0, len(confirmed) >= 50))
            await asyncio.to_thread(own_server.kill)
            await asyncio.wait(writers, timeout=30)
            assert all(writer.done() for writer in writers), "a caller hangs"
            assert (await store.health()).status is HealthStatus.DOWN
            await asyncio.to_thread(own_server.start)

            async def well():
                return (await store.health()).status is HealthStatus.OK

            await until(well)
            kept = {document["_id"] for document in await records.find(name)}
            assert {each for number in confirmed for each in (number, f"with {number}")} <= kept
            assert {f"with {each}" for each in kept if isinstance(each, int)} == {e for e in kept if isinstance(e, str)}

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_commit_whose_answer_is_lost_is_no_false_success_and_hangs_nobody(own_server, make_store, driver):
    async def scenario(proxy):
        name = f"half_{new_id()}"
        url = own_server.address(proxy.port)
        async with connected(make_store(url, driver=driver, timeout=2)) as records:
            await records.write([Put(name, {"_id": 0})])
            proxy.inject(Fault.HALF_OPEN)
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(records.write([Insert(name, {"_id": 1}), Insert(name, {"_id": 2})]), 30)
            proxy.inject(Fault.NONE)
            proxy.reset()

            async def works():
                try:
                    return await records.count(name, {"_id": 0}) == 1
                except StoreUnavailable:
                    return False

            await until(works)
            assert await records.count(name, {"_id": {"$gt": 0}}) in (0, 2)

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_connections_that_are_reset_are_made_again_unnoticed(own_server, make_store):
    async def scenario(proxy):
        name = f"reset_{new_id()}"
        async with connected(make_store(own_server.address(proxy.port))) as records:
            for number in range(5):
                proxy.reset()
                await records.insert(name, {"_id": number})
                proxy.reset()
                await records.write([Put(name, {"_id": f"a {number}"}), Put(name, {"_id": f"b {number}"})])
                proxy.reset()
                assert await records.count(name) == 3 * (number + 1)

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


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
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await make_store("mongodb://127.0.0.1:9/", timeout=1).connect()

    asyncio.run(scenario())


def test_an_address_that_is_none_is_refused(make_store):
    async def scenario():
        with pytest.raises(StoreUnavailable, match="settings"):
            await make_store("http://127.0.0.1/").connect()

    asyncio.run(scenario())
