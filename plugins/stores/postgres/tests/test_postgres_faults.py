"""A server that is killed, cut off, slow or crowded: no false success, no hung caller, and soon all is well again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aats_store_postgres import PostgresStore, changes

from aats_core.clock import RealClock
from aats_core.errors import InvalidDocument, StoreError, StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from aats_core.store import Index, Put, RecordStore, Schema, Update
from aats_core.testing.stores_faults import KeyValueFaultContract, RecordFaultContract
from tests.services.faults import OnOwnServer
from tests.services.postgres import PASSWORD

SHORT = 2.0
"""Seconds that calls may take where some of them will take all of it, and the others enough for a busy machine."""


def records_of(store: PostgresStore) -> Any:
    return next(each for each in store.capabilities if isinstance(each, RecordStore))


class TestFaults(OnOwnServer, RecordFaultContract, KeyValueFaultContract):
    secret = PASSWORD

    def make_store(self, port: int = 0, **settings: Any) -> PostgresStore:
        dsn = self.server.address(port or self.server.port)
        return PostgresStore(
            PostgresStore.Settings(**{"dsn": dsn, "timeout": 5.0, **settings}), TeamInfo(), RealClock()
        )


def test_who_finds_no_free_connection_is_told_why_and_the_pool_recovers(opened: Any) -> None:
    async def scenario() -> None:
        name = f"crowd_{new_id()}"
        async with opened(pool=2, timeout=SHORT) as store:
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
            found = await asyncio.wait_for(asyncio.gather(*(records.find(name) for _ in range(20))), 10)
            assert found == [[{"_id": 1}]] * 20

    asyncio.run(scenario())


def test_who_waits_too_long_for_a_lock_is_told_and_nothing_is_applied(opened: Any) -> None:
    async def scenario() -> None:
        name = f"held_{new_id()}"
        async with opened(timeout=SHORT) as store, opened() as other:
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
        async with opened(timeout=SHORT) as store:
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
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        async with opened(transaction_timeout=0.3) as store:
            records = records_of(store)
            await records.insert(name, {"_id": 1})

            async def dawdle(then: Any) -> None:
                async with records.transaction() as inside:
                    await inside.insert(name, {"_id": 2})
                    async with asyncio.timeout(20):
                        while await store.native.fetchval(idle):
                            await asyncio.sleep(0.02)
                    await then(inside)

            with pytest.raises(StoreUnavailable, match=r"0\.3 seconds"):
                await dawdle(lambda inside: inside.insert(name, {"_id": 3}))
            with pytest.raises(StoreUnavailable, match="rolled back"):
                await dawdle(lambda inside: asyncio.sleep(0))
            assert await records.find(name) == [{"_id": 1}]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("part", "change", "hint"),
    [
        (":secret@", ":secretx@", "password"),
        ("/postgres?", "/postgresx?", "create the database"),
        ("/postgres?", "/postgres?bogus=1", 'refuses the connection: unrecognized configuration parameter "bogus"'),
    ],
)
def test_a_refusal_of_the_server_says_at_once_what_to_change(
    own_server: Any, tmp_path: Any, part: str, change: str, hint: str
) -> None:
    async def scenario() -> None:
        dsn = f"{own_server.url}?".replace(part, change)
        store = PostgresStore(PostgresStore.Settings(dsn=dsn, timeout=600.0), TeamInfo(state_dir=tmp_path), RealClock())
        with pytest.raises(StoreUnavailable, match=hint):
            await store.connect()

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
