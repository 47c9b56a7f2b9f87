"""Reads from a replica: a real one, made by pg_basebackup, that follows by streaming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aats_store_postgres import PostgresReplicas, PostgresStore
from pydantic import SecretStr

from aats_core.health import HealthStatus
from aats_core.message import new_id
from aats_core.store import Index, RecordStore, Schema
from tests.services.postgres import PostgresReplica

PATIENCE = 60.0


@pytest.fixture
def replica(own_server: Any, tmp_path: Path) -> Iterator[PostgresReplica]:
    """A running server that follows the other one."""
    server = PostgresReplica(tmp_path / "replica", own_server)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def both(opened: Any, replica: PostgresReplica, **settings: Any) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Open a store with the replica; yields its records, its reads of replicas, and itself."""
    async with asyncio.timeout(2 * PATIENCE), opened(replicas=(SecretStr(replica.url),), **settings) as store:
        yield offered(store, RecordStore), offered(store, PostgresReplicas), store


def offered(store: PostgresStore, kind: Any) -> Any:
    return next(each for each in store.capabilities if isinstance(each, kind))


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.05)


async def on_replica(replica: PostgresReplica, sql: str) -> Any:
    connection = await asyncpg.connect(replica.url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def until_used(store: PostgresStore) -> None:
    async def used() -> bool:
        return (await store.health()).status is HealthStatus.OK

    await until(used)


def test_what_a_replica_tells_is_what_it_has(opened: Any, replica: PostgresReplica) -> None:
    async def scenario() -> None:
        async with both(opened, replica, replica_lag=3600.0) as (records, reads, store):
            name = f"read_{new_id()}"
            await records.ensure(name, Schema(indexes=(Index({"n": 1}),)))
            await records.insert(name, *({"_id": n, "n": n} for n in range(10)))
            await until_used(store)

            async def arrived() -> bool:
                return bool(await reads.count(name) == 10)

            await until(arrived)
            await on_replica(replica, "SELECT pg_wal_replay_pause()")
            await records.insert(name, {"_id": 10, "n": 10})
            assert await records.count(name) == 11
            assert await reads.count(name) == 10, "the primary was asked"
            assert await reads.find(name, {"n": {"$gte": 8}}, sort={"n": -1}, projection={"n": 1}) == [
                {"_id": 9, "n": 9},
                {"_id": 8, "n": 8},
            ]
            assert await reads.aggregate(name, [{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]) == [
                {"_id": None, "sum": 45}
            ]
            assert len([each async for each in reads.stream(name)]) == 10
            await records.ensure(name, Schema(indexes=(Index({"m": 1}),)))
            assert await reads.count(name) == 10, "the replica does not know of the new schema yet"
            await on_replica(replica, "SELECT pg_wal_replay_resume()")

            async def followed() -> bool:
                return bool(await reads.count(name) == 11)

            await until(followed)

    asyncio.run(scenario())


def test_a_replica_that_is_too_far_behind_is_left_out(opened: Any, replica: PostgresReplica) -> None:
    async def scenario() -> None:
        async with both(opened, replica, replica_lag=4.0) as (records, reads, store):
            name = f"late_{new_id()}"
            await records.insert(name, {"_id": 0})
            await until_used(store)
            await until(lambda: on_replica(replica, "SELECT pg_last_xact_replay_timestamp() IS NOT NULL"))
            await on_replica(replica, "SELECT pg_wal_replay_pause()")
            await records.insert(name, {"_id": 1})

            async def told() -> bool:
                return "seconds behind" in (await store.health()).detail

            await until(told)
            assert await reads.count(name) == 2, "the replica was asked"
            await on_replica(replica, "SELECT pg_wal_replay_resume()")
            await until_used(store)

    asyncio.run(scenario())


def test_the_primary_answers_while_the_replica_is_away(opened: Any, replica: PostgresReplica) -> None:
    async def scenario() -> None:
        async with both(opened, replica, replica_lag=3600.0) as (records, reads, store):
            name = f"away_{new_id()}"
            await records.insert(name, {"_id": 0})
            await until_used(store)
            replica.kill()
            for _ in range(20):
                assert await reads.find(name) == [{"_id": 0}]
            assert (await store.health()).status is HealthStatus.DEGRADED
            replica.start()
            await until_used(store)

            async def followed() -> bool:
                return [each async for each in reads.stream(name)] == [{"_id": 0}]

            await until(followed)  # until then it may tell of the time before it was killed

    asyncio.run(scenario())


def test_a_server_that_is_no_replica_is_not_read_as_one(opened: Any, own_server: Any) -> None:
    async def scenario() -> None:
        async with opened(replicas=(SecretStr(own_server.url),)) as store:

            async def told() -> bool:
                return "it is no replica" in (await store.health()).detail

            await until(told)
            assert await offered(store, PostgresReplicas).count(new_id()) == 0

    asyncio.run(scenario())
