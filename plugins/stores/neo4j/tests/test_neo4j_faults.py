"""A server that is killed, cut off, slow or crowded: no false success, no hung caller, and soon all is well again."""

from __future__ import annotations

import asyncio
import gc
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
from aats_core.store import RecordStore
from aats_core.testing.stores_faults import RecordFaultContract
from plugins.stores.neo4j.tests.conftest import PATIENCE, warm_up
from tests.services.faults import OnOwnServer
from tests.services.neo4j import PASSWORD
from tests.services.proxy import Fault, FaultProxy

HEALTHY_AGAIN = 60.0
"""Seconds within which a store works again after its server does, however much else the machine has to do."""

# The driver leaves the socket of a handshake that is given up to the garbage collector, which is therefore called here.
pytestmark = [
    pytest.mark.timeout(600),  # what the tests wait for together; a server that has just started may take most of it
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


@pytest.mark.timeout(300)  # a machine that has much else to do takes a minute to start this server
class TestFaults(OnOwnServer, RecordFaultContract):
    patience = PATIENCE
    short = 3.0
    rounds = 1
    secret = PASSWORD
    keeps_writing = True

    def make_store(self, port: int = 0, **settings: Any) -> Neo4jStore:
        uri = self.server.address(port or self.server.port)
        given = {"uri": uri, "password": SecretStr(PASSWORD), "timeout": 30.0, **settings}
        return Neo4jStore(Neo4jStore.Settings(**given), TeamInfo(), RealClock())

    async def warm_up(self) -> None:
        await warm_up(self.server)


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
