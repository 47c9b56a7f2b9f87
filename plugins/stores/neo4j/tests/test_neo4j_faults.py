"""A server that is killed, cut off, slow or crowded: no false success, no hung caller, and soon all is well again."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aats_store_neo4j import Neo4jStore
from pydantic import SecretStr

from aats_core.clock import RealClock
from aats_core.errors import InvalidDocument, StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from aats_core.store import Insert, Put, RecordStore, Relation
from tests.services.neo4j import PASSWORD
from tests.services.proxy import Fault, FaultProxy
from tests.services.service import free_port

HEALTHY_AGAIN = 60.0
"""Seconds within which a store works again after its server does, however much else the machine has to do."""

# The driver leaves the socket of a handshake that is given up to the garbage collector, which is therefore called here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MARK = "CREATE (n:Mark {name: $name})"
MARKS = "MATCH (n:Mark {name: $name}) RETURN count(n)"


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


def records_of(store: Neo4jStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, RecordStore))


def graph_of(store: Neo4jStore) -> Any:
    return next(each for each in store.capabilities if not isinstance(each, RecordStore))


async def until_healthy(store: Neo4jStore) -> None:
    async with asyncio.timeout(HEALTHY_AGAIN):
        while (await store.health()).status is not HealthStatus.OK:
            await asyncio.sleep(0.05)


async def eventually(call: Any, wanted: Any) -> None:
    """Ask until there is an answer, which has to be the right one: the server that answers has only just begun."""
    async with asyncio.timeout(HEALTHY_AGAIN):
        while True:
            try:
                assert await call() == wanted
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def wait_for(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Load:
    """Clients that write and read until they are told to stop, and remember what they were told."""

    def __init__(self, store: Neo4jStore, name: str) -> None:
        self.records, self.graph, self.name = records_of(store), graph_of(store), name
        self.confirmed: set[str] = set()
        self.related: set[str] = set()
        self.longest = 0.0
        self.stopping = False

    async def run(self, clients: int) -> None:
        await asyncio.gather(*(self._client(number) for number in range(clients)))

    async def _client(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            key, begun = f"{number}-{turn}", time.monotonic()
            try:
                if turn % 3:
                    await self.records.write([Insert(self.name, {"_id": key})])
                    self.confirmed.add(key)
                    found = await self.records.find(self.name, {"_id": key})
                    assert found == [{"_id": key}], "what was confirmed is there"
                else:
                    await self.graph.relate(self.name, Relation("all", "has", key))
                    self.related.add(key)
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            self.longest = max(self.longest, time.monotonic() - begun)


def test_what_was_confirmed_outlives_kill_9_under_load(own_server: Any, opened: Any) -> None:
    async def scenario() -> None:
        name = f"load_{new_id()}"
        async with opened(pool=6) as store:
            load = Load(store, name)
            running = asyncio.create_task(load.run(20))
            await wait_for(lambda: len(load.confirmed) > 50 and len(load.related) > 20, 120)
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
            await until_healthy(store)
            before = len(load.confirmed)
            await wait_for(lambda: len(load.confirmed) > before + 50, 120)
            load.stopping = True
            await asyncio.wait_for(running, 120)
            found = {each["_id"] for each in await load.records.find(name)}
            assert load.confirmed <= found, f"lost: {sorted(load.confirmed - found)}"
            assert load.related <= set(await load.graph.neighbours(name, "all"))
            assert load.longest < 75, "nobody waits for much longer than the timeouts of two calls allow"

    asyncio.run(scenario())


def test_nobody_hangs_while_the_server_is_away_and_calls_fail_at_once_after_a_while(
    own_server: Any, opened: Any
) -> None:
    async def scenario() -> None:
        name = f"away_{new_id()}"
        async with opened(timeout=3.0) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            await asyncio.to_thread(own_server.kill)
            try:
                for _ in range(2):
                    with pytest.raises(StoreUnavailable, match="cannot be reached"):
                        await asyncio.wait_for(records.find(name), 30)
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    await asyncio.wait_for(records.write([Put(name, {"_id": 2})]), 30)
                ends = await asyncio.wait_for(
                    asyncio.gather(*(records.find(name) for _ in range(50)), return_exceptions=True), 30
                )
                assert {type(end) for end in ends} == {StoreUnavailable}
                health = await store.health()
                assert health.status is HealthStatus.DOWN
                assert "start it" in health.detail
                assert PASSWORD not in health.detail
            finally:
                await asyncio.to_thread(own_server.start)
            await until_healthy(store)
            await eventually(lambda: records.find(name), [{"_id": 1}])

    asyncio.run(scenario())


@pytest.mark.parametrize("cut", [False, True], ids=["no answer", "cut"])
def test_a_commit_whose_answer_is_lost_is_no_success_and_not_done_again(
    own_server: Any, opened: Any, *, cut: bool
) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        name = new_id()
        async with opened(proxy.port, timeout=4.0) as store, opened() as witness:

            async def marks() -> int:
                return int((await witness._sessions.read(MARKS, name=name))[0][0])

            async def work(transaction: Any) -> None:
                await transaction.run(MARK, name=name)
                proxy.inject(Fault.HALF_OPEN)

            writing = asyncio.create_task(store._sessions.write(work))
            async with asyncio.timeout(20):
                while not await marks():
                    await asyncio.sleep(0.01)
            if cut:
                proxy.inject(Fault.CUT)
            with pytest.raises(StoreUnavailable, match="not known"):
                await asyncio.wait_for(writing, 20)
            proxy.inject(Fault.NONE)
            proxy.reset()
            await until_healthy(store)
            assert await marks() == 1

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_reads_and_writes_go_on_over_cut_connections(own_server: Any, opened: Any) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        name = f"cut_{new_id()}"
        async with opened(proxy.port, pool=4, timeout=30.0) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            for _ in range(5):
                reads = [asyncio.create_task(records.find(name)) for _ in range(8)]
                await asyncio.sleep(0)
                proxy.reset()
                assert await asyncio.wait_for(asyncio.gather(*reads), 60) == [[{"_id": 1}]] * 8
            proxy.reset()
            await records.write([Insert(name, {"_id": 2})])
            assert await records.count(name) == 2

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_who_finds_no_free_connection_is_told_why_and_the_pool_recovers(opened: Any) -> None:
    async def scenario() -> None:
        name = f"crowd_{new_id()}"
        async with opened(pool=2, timeout=3.0) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            holders = [store.native.session() for _ in range(2)]
            held = [await session.begin_transaction() for session in holders]
            waiting = asyncio.create_task(records.find(name))
            given_up = asyncio.create_task(records.find(name))
            await asyncio.sleep(0.1)
            given_up.cancel()
            with pytest.raises(StoreUnavailable, match="raise `pool`"):
                await asyncio.wait_for(waiting, 30)
            for transaction, session in zip(held, holders, strict=True):
                await transaction.close()
                await session.close()
            await until_healthy(store)
            for _ in range(20):
                await eventually(lambda: records.find(name), [{"_id": 1}])

    asyncio.run(scenario())


def test_a_caller_who_gives_up_leaves_no_connection_behind(opened: Any) -> None:
    async def scenario() -> None:
        name = f"gone_{new_id()}"
        async with opened(pool=3, timeout=30.0) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            for pause in range(20):
                tasks = [asyncio.create_task(records.find(name)) for _ in range(10)]
                await asyncio.sleep(pause / 5_000)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            found = await asyncio.wait_for(asyncio.gather(*(records.find(name) for _ in range(20))), 60)
            assert found == [[{"_id": 1}]] * 20

    asyncio.run(scenario())


def test_who_waits_too_long_for_a_lock_is_told_and_nothing_is_applied(opened: Any) -> None:
    async def scenario() -> None:
        name = f"held_{new_id()}"
        async with opened(timeout=4.0) as store, opened() as other, other.native.session() as session:
            records = records_of(store)
            await records.insert(name, {"_id": 1, "n": 0})
            holder = await session.begin_transaction()
            await (await holder.run(f"MATCH (d:`aats.{name}`) SET d.held = true")).consume()
            with pytest.raises(StoreUnavailable, match="nothing of it was applied"):
                await asyncio.wait_for(records.update(name, {"_id": 1}, {"$inc": {"n": 10}}), 30)
            await holder.rollback()
            assert await records.find(name) == [{"_id": 1, "n": 0}]

    asyncio.run(scenario())


def test_a_statement_that_runs_too_long_is_ended_in_the_server_too(opened: Any) -> None:
    async def scenario() -> None:
        async with opened(timeout=4.0) as store, opened() as other:
            endless = "UNWIND range(1, 100000000000) AS number RETURN max(number)"
            with pytest.raises(StoreUnavailable, match="longer than `timeout`"):
                await asyncio.wait_for(store._sessions.read(endless), 30)
            asking = "SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery = $endless RETURN count(*)"
            async with asyncio.timeout(30):
                while (await other._sessions.read(asking, endless=endless))[0][0]:
                    await asyncio.sleep(0.02)
            assert (await store.health()).status is HealthStatus.OK

    asyncio.run(scenario())


def made(tmp_path: Any, **settings: Any) -> Neo4jStore:
    return Neo4jStore(Neo4jStore.Settings(**settings), TeamInfo(state_dir=tmp_path), RealClock())


def test_a_server_that_is_not_there_is_named_and_the_password_is_not(tmp_path: Any) -> None:
    async def scenario() -> None:
        store = made(tmp_path, uri=f"bolt://127.0.0.1:{free_port()}", password=SecretStr(PASSWORD), timeout=0.5)
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            await asyncio.wait_for(store.connect(), 10)
        assert PASSWORD not in str(caught.value)
        assert PASSWORD not in repr(store._settings)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "hint"),
    [({"password": SecretStr("wrong")}, "user or password"), ({"database": "nowhere"}, "create the database")],
)
def test_a_refusal_of_the_server_says_at_once_what_to_change(
    server: Any, tmp_path: Any, change: Any, hint: str
) -> None:
    async def scenario() -> None:
        given = {"uri": server.url, "password": SecretStr(PASSWORD), "timeout": 600.0, **change}
        with pytest.raises(StoreUnavailable, match=hint):
            await asyncio.wait_for(made(tmp_path, **given).connect(), 60)

    asyncio.run(scenario())


def test_what_is_too_large_is_refused_and_harms_no_other(opened: Any) -> None:
    async def scenario() -> None:
        name = f"large_{new_id()}"
        async with opened() as store:
            records = records_of(store)
            huge = {"_id": "huge", "text": "x" * 17 * 1024 * 1024}
            ends = await asyncio.gather(
                records.insert(name, huge), records.insert(name, {"_id": "small"}), return_exceptions=True
            )
            assert isinstance(ends[0], InvalidDocument)
            assert ends[1] == ["small"]
            assert await records.find(name) == [{"_id": "small"}]

    asyncio.run(scenario())
