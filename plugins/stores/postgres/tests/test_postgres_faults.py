"""A server that is killed, cut off, slow or crowded: no false success, no hung caller, and soon all is well again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aats_store_postgres import PostgresStore, changes

from aats_core.clock import RealClock
from aats_core.errors import InvalidDocument, StoreError, StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from aats_core.store import Index, Insert, KeyValueStore, Put, RecordStore, Schema, Update
from tests.services.proxy import Fault, FaultProxy

HEALTHY_AGAIN = 10.0
"""Seconds within which a store works again after its server does."""


def records_of(store: PostgresStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, RecordStore))


def values_of(store: PostgresStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, KeyValueStore))


async def until_healthy(store: PostgresStore) -> None:
    async with asyncio.timeout(HEALTHY_AGAIN):
        while (await store.health()).status is not HealthStatus.OK:
            await asyncio.sleep(0.05)


class Load:
    """Clients that write and read until they are told to stop, and remember what they were told."""

    def __init__(self, records: Any, name: str) -> None:
        self.records, self.name = records, name
        self.confirmed: set[str] = set()
        self.failed = 0
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
                else:
                    await self.records.insert(self.name, {"_id": key})
                self.confirmed.add(key)
                assert await self.records.find(self.name, {"_id": key}) == [{"_id": key}], "what was confirmed is there"
            except StoreUnavailable:
                self.failed += 1
            self.longest = max(self.longest, time.monotonic() - begun)
            await asyncio.sleep(0)


async def wait_for(condition: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("rounds", [3])
def test_what_was_confirmed_outlives_kill_9_under_load(own_server: Any, opened: Any, rounds: int) -> None:
    async def scenario() -> None:
        name = f"load_{new_id()}"
        async with opened(pool=6) as store:
            load = Load(records_of(store), name)
            running = asyncio.create_task(load.run(20))
            for _ in range(rounds):
                before = len(load.confirmed)
                await wait_for(lambda before=before: len(load.confirmed) > before + 50)
                await asyncio.to_thread(own_server.kill)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(own_server.start)
                await until_healthy(store)
            before = len(load.confirmed)
            await wait_for(lambda: len(load.confirmed) > before + 50, HEALTHY_AGAIN)
            load.stopping = True
            await asyncio.wait_for(running, 30)
            found = {each["_id"] for each in await load.records.find(name)}
            assert load.confirmed <= found, f"lost: {sorted(load.confirmed - found)}"
            assert load.longest < 15, "nobody waits for longer than the timeout allows"

    asyncio.run(scenario())


def test_nobody_hangs_while_the_server_is_away_and_calls_fail_at_once_after_a_while(
    own_server: Any, opened: Any
) -> None:
    async def scenario() -> None:
        name = f"away_{new_id()}"
        async with opened(timeout=1.0) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            await asyncio.to_thread(own_server.kill)
            try:
                for _ in range(2):
                    with pytest.raises(StoreUnavailable, match="cannot be reached"):
                        await asyncio.wait_for(records.find(name), 10)
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    await asyncio.wait_for(records.write([Put(name, {"_id": 2})]), 10)
                ends = await asyncio.wait_for(
                    asyncio.gather(*(records.find(name) for _ in range(50)), return_exceptions=True), 10
                )
                assert {type(end) for end in ends} == {StoreUnavailable}
                health = await store.health()
                assert health.status is HealthStatus.DOWN
                assert "start it" in health.detail
                assert "secret" not in health.detail
            finally:
                await asyncio.to_thread(own_server.start)
            await until_healthy(store)
            assert await records.find(name) == [{"_id": 1}]

    asyncio.run(scenario())


def test_an_answer_that_never_comes_is_no_success(own_server: Any, opened: Any) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        name = f"half_{new_id()}"
        async with opened(proxy.port, timeout=1.0, pool=4) as store, opened() as witness:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            proxy.inject(Fault.HALF_OPEN)
            with pytest.raises(StoreUnavailable, match="not known"):
                await asyncio.wait_for(records.write([Put(name, {"_id": "perhaps"})]), 10)
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(records.find(name), 10)
            proxy.inject(Fault.NONE)
            proxy.reset()
            await until_healthy(store)
            await records.write([Put(name, {"_id": "perhaps"})])
            assert {each["_id"] for each in await records_of(witness).find(name)} == {1, "perhaps"}

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_reads_go_on_over_cut_connections(own_server: Any, opened: Any) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        name = f"cut_{new_id()}"
        async with opened(proxy.port, pool=4) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            for _ in range(10):
                reads = [asyncio.create_task(records.find(name)) for _ in range(8)]
                await asyncio.sleep(0)
                proxy.reset()
                assert await asyncio.wait_for(asyncio.gather(*reads), 10) == [[{"_id": 1}]] * 8

    with FaultProxy(own_server.port) as proxy:
        asyncio.run(scenario(proxy))


def test_who_finds_no_free_connection_is_told_why_and_the_pool_recovers(opened: Any) -> None:
    async def scenario() -> None:
        name = f"crowd_{new_id()}"
        async with opened(pool=2, timeout=1.0) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            async with records.transaction() as one, records.transaction() as other:
                await one.find(name)
                await other.find(name)
                waiting = asyncio.create_task(records.find(name))
                given_up = asyncio.create_task(records.find(name))
                await asyncio.sleep(0.1)
                given_up.cancel()
                with pytest.raises(StoreUnavailable, match="raise `pool`"):
                    await asyncio.wait_for(waiting, 10)
            found = await asyncio.wait_for(asyncio.gather(*(records.find(name) for _ in range(200))), 10)
            assert found == [[{"_id": 1}]] * 200

    asyncio.run(scenario())


def test_a_caller_who_gives_up_leaves_no_connection_behind(opened: Any) -> None:
    async def scenario() -> None:
        name = f"gone_{new_id()}"
        async with opened(pool=3) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})
            for pause in range(30):
                tasks = [asyncio.create_task(records.find(name)) for _ in range(10)]
                await asyncio.sleep(pause / 10_000)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            found = await asyncio.wait_for(asyncio.gather(*(records.find(name) for _ in range(20))), 10)
            assert found == [[{"_id": 1}]] * 20

    asyncio.run(scenario())


def test_who_waits_too_long_for_a_lock_is_told_and_nothing_is_applied(opened: Any) -> None:
    async def scenario() -> None:
        name = f"held_{new_id()}"
        async with opened(timeout=1.0) as store, opened() as other:
            records = records_of(store)
            await records.insert(name, {"_id": 1, "n": 0})
            async with records_of(other).transaction() as holder:
                await holder.update(name, {"_id": 1}, {"$inc": {"n": 1}})
                with pytest.raises(StoreUnavailable, match="nothing of it was applied"):
                    await asyncio.wait_for(records.update(name, {"_id": 1}, {"$inc": {"n": 10}}), 10)
                ends = await asyncio.wait_for(
                    asyncio.gather(
                        records.write([Update(name, {"_id": 1}, {"$inc": {"n": 100}})]),
                        records.write([Put(name, {"_id": 1, "n": 1000})]),
                        return_exceptions=True,
                    ),
                    10,
                )
                assert {type(end) for end in ends} == {StoreUnavailable}
            assert await records.find(name) == [{"_id": 1, "n": 1}]

    asyncio.run(scenario())


def test_a_statement_that_runs_too_long_is_ended_in_the_server_too(opened: Any) -> None:
    async def scenario() -> None:
        async with opened(timeout=1.0) as store:
            with pytest.raises(StoreUnavailable, match="longer than `timeout`"):
                await asyncio.wait_for(store._pool.run(lambda session: session.fetch("SELECT pg_sleep(60)")), 10)
            asking = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
            async with asyncio.timeout(10):
                while await store.native.fetchval(asking):
                    await asyncio.sleep(0.02)
            assert (await store.health()).status is HealthStatus.OK

    asyncio.run(scenario())


def test_a_transaction_that_is_left_alone_is_rolled_back(opened: Any) -> None:
    async def scenario() -> None:
        name = f"idle_{new_id()}"
        async with opened(transaction_timeout=0.3) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})

            async def dawdle(then: Any) -> None:
                async with records.transaction() as inside:
                    await inside.insert(name, {"_id": 2})
                    await asyncio.sleep(1.0)
                    await then(inside)

            with pytest.raises(StoreUnavailable, match=r"0\.3 seconds"):
                await dawdle(lambda inside: inside.insert(name, {"_id": 3}))
            with pytest.raises(StoreUnavailable, match="rolled back"):
                await dawdle(lambda inside: asyncio.sleep(0))
            assert await records.find(name) == [{"_id": 1}]

    asyncio.run(scenario())


def test_a_server_that_is_not_there_is_named_and_the_password_is_not(dead_dsn: Any, tmp_path: Any) -> None:
    async def scenario() -> None:
        store = PostgresStore(
            PostgresStore.Settings(dsn=dead_dsn, timeout=0.5), TeamInfo(state_dir=tmp_path), RealClock()
        )
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            await asyncio.wait_for(store.connect(), 10)
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(store._settings)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("change", "hint"), [(":secret@", "password"), ("/postgres?", "create the database")])
def test_a_refusal_of_the_server_says_what_to_change(own_server: Any, tmp_path: Any, change: str, hint: str) -> None:
    async def scenario() -> None:
        dsn = f"{own_server.url}?".replace(change, f"{change[:-1]}x{change[-1]}")
        store = PostgresStore(PostgresStore.Settings(dsn=dsn), TeamInfo(state_dir=tmp_path), RealClock())
        with pytest.raises(StoreUnavailable, match=hint):
            await asyncio.wait_for(store.connect(), 20)

    asyncio.run(scenario())


def test_what_is_too_large_for_the_server_is_refused_and_harms_no_other(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        name = f"large_{new_id()}"
        async with opened() as store:
            records = records_of(store)
            await records.ensure(name, Schema(indexes=(Index({"text": 1}, text=True),)))
            many_words = {"_id": "words", "text": " ".join(f"word{number}" for number in range(120_000))}
            ends = await asyncio.gather(
                records.insert(name, many_words), records.insert(name, {"_id": "small"}), return_exceptions=True
            )
            assert isinstance(ends[0], StoreError)
            assert "larger than PostgreSQL can hold" in str(ends[0])
            assert ends[1] == ["small"]
            monkeypatch.setattr(changes, "MOST_CHARACTERS", 1000)
            with pytest.raises(InvalidDocument, match="larger than PostgreSQL can hold"):
                await records.insert(name, {"_id": "huge", "text": "x" * 1000})
            assert await records.find(name) == [{"_id": "small"}]

    asyncio.run(scenario())


def test_a_lock_outlives_a_restart_of_the_server(own_server: Any, opened: Any) -> None:
    async def scenario() -> None:
        name = f"lock_{new_id()}"
        async with opened() as store, opened() as other:
            async with values_of(store).lock(name, ttl=6.0) as lock:
                await asyncio.to_thread(own_server.kill)
                await asyncio.to_thread(own_server.start)
                await until_healthy(other)
                with pytest.raises(TimeoutError):
                    async with values_of(other).lock(name, timeout=0.1):
                        pass
            async with values_of(other).lock(name, timeout=10.0) as next_lock:
                assert next_lock.token > lock.token

    asyncio.run(scenario())
