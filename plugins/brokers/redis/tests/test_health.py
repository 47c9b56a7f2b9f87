from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aats_broker_redis.health import judge

from aats_core.health import HealthStatus
from plugins.brokers.redis.tests.conftest import Connected
from tests.services import RedisServer

GOOD = {"appendonly": "yes", "appendfsync": "always", "maxmemory": "0", "maxmemory-policy": "noeviction"}


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, ""),
        ({"appendonly": "no"}, "set `appendonly yes`, `appendfsync always`"),
        ({"appendfsync": "everysec"}, "loses the last second of confirmed messages: set `appendfsync always`"),
        ({"appendfsync": "no"}, "set `appendfsync always`"),
        ({"maxmemory": "1000000"}, ""),
        ({"maxmemory-policy": "allkeys-lru"}, ""),
        ({"maxmemory": "1", "maxmemory-policy": "allkeys-lru"}, "set `maxmemory-policy noeviction`"),
        ({"min-replicas-to-write": "1"}, ""),
        ({"min-replicas-to-write": "2"}, "min-replicas-to-write is 2, and 1 are there"),
    ],
)
def test_settings_that_lose_messages_are_named_with_what_helps(changes: dict[str, str], advice: str) -> None:
    problems = judge({**GOOD, **changes}, 1)
    assert bool(problems) == bool(advice)
    assert all(advice in problem for problem in problems)


def test_a_server_that_keeps_its_promises_is_well(server: RedisServer, connect: Connected) -> None:
    async def scenario() -> None:
        async with connect(server.port) as broker:
            assert (await broker.health()).status is HealthStatus.OK

    asyncio.run(scenario())


def test_a_server_that_does_not_is_degraded(own_server: Callable[..., RedisServer], connect: Connected) -> None:
    server = own_server(appendfsync="everysec", maxmemory="100mb", maxmemory_policy="allkeys-lru")

    async def scenario() -> None:
        async with connect(server.port) as broker:
            health = await broker.health()
            assert health.status is HealthStatus.DEGRADED
            assert "appendfsync always" in health.detail
            assert "maxmemory-policy noeviction" in health.detail

    asyncio.run(scenario())


def test_a_user_that_may_not_look_is_told_what_to_allow(
    own_server: Callable[..., RedisServer], connect: Connected
) -> None:
    server = own_server()
    server.ask("ACL SETUSER aats on >secret ~aats:{aats}:* &aats:{aats}:* +@all -config -@dangerous +info +role")

    async def scenario() -> None:
        async with connect(server.port, user="aats", password="secret") as broker:
            health = await broker.health()
            assert health.status is HealthStatus.DEGRADED
            assert "config|get" in health.detail

    asyncio.run(scenario())


def test_a_server_that_went_away_is_down_and_named(own_server: Callable[..., RedisServer], connect: Connected) -> None:
    server = own_server()

    async def scenario() -> None:
        async with connect(server.port, timeout=1) as broker:
            server.kill()
            while (health := await broker.health()).status is not HealthStatus.DOWN:
                await asyncio.sleep(0.01)
            while str(server.port) not in health.detail:
                await asyncio.sleep(0.01)
                health = await broker.health()

    asyncio.run(scenario())
