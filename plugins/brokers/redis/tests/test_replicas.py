from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aats_core.errors import BrokerUnavailable
from aats_core.health import HealthStatus
from aats_core.message import Message
from plugins.brokers.redis.tests.conftest import Connected
from tests.services import RedisServer

COUNT = 200


def test_what_no_replica_has_is_not_confirmed(own_server: Callable[..., RedisServer], connect: Connected) -> None:
    async def scenario() -> None:
        async with connect(own_server().port, replicas=2, timeout=1.0) as broker:
            with pytest.raises(BrokerUnavailable, match=r"only 1 of 2 servers .* set a lower `replicas`"):
                await broker.publish("t", Message("m", 1))
            health = await broker.health()
            assert health.status is HealthStatus.DEGRADED
            assert "1 of 2 servers" in health.detail

    asyncio.run(scenario())


def test_a_server_that_may_not_write_counts_as_away(
    own_server: Callable[..., RedisServer], connect: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server()

    async def scenario() -> None:
        async with connect(server.port, timeout=1.0, lease=2.0) as broker, broker.subscribe("t", "g") as consumer:
            taken = asyncio.create_task(anext(consumer))
            server.ask("CONFIG SET min-replicas-to-write 1")
            with pytest.raises(BrokerUnavailable, match="NOREPLICAS"):
                await broker.publish("t", Message("m", 1))
            assert "min-replicas-to-write is 1" in (await broker.health()).detail
            later = asyncio.create_task(broker.publish("t", Message("m", 2)))
            server.ask("CONFIG SET min-replicas-to-write 0")
            await later
            assert (await taken).message.read(int) == 2

    asyncio.run(scenario())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_who_waits_for_replicas_keeps_no_others_waiting(
    own_server: Callable[..., RedisServer], connect: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with connect(own_server().port, replicas=2, timeout=2.0) as broker:
            letters = [broker.dead_letter("t", Message("m", value), reason="no", attempts=1) for value in range(8)]
            ends = await asyncio.gather(*letters, broker.topics(), return_exceptions=True)
            assert {type(end) for end in ends[:-1]} == {BrokerUnavailable}
            assert not isinstance(ends[-1], BaseException)
            assert len(await broker.dead_letters("t")) <= 8

    asyncio.run(scenario())
    assert "is lost" not in caplog.text


def test_a_server_that_became_a_replica_is_down(own_server: Callable[..., RedisServer], connect: Connected) -> None:
    server = own_server()

    async def scenario() -> None:
        async with connect(server.port) as broker:
            server.ask("REPLICAOF 127.0.0.1 1")
            assert (await broker.health()).status is HealthStatus.DOWN
            server.ask("REPLICAOF NO ONE")

    asyncio.run(scenario())


def test_what_is_confirmed_outlives_the_primary(own_server: Callable[..., RedisServer], connect: Connected) -> None:
    primary, replica = own_server(), own_server()
    replica.ask(f"REPLICAOF 127.0.0.1 {primary.port}")

    async def scenario() -> None:
        async with connect(primary.port, replica.port, replicas=2, timeout=20.0, lease=2.0) as broker:
            async with broker.subscribe("t", "g"):
                await asyncio.gather(*(broker.publish("t", Message("m", value)) for value in range(COUNT)))
                await asyncio.to_thread(primary.kill)
                replica.ask("REPLICAOF NO ONE")
            async with broker.subscribe("t", "g", prefetch=1) as consumer:
                found: set[int] = set()
                async with asyncio.timeout(30):
                    while len(found) < COUNT:
                        delivery = await anext(consumer)
                        found.add(delivery.message.read(int))
                        await delivery.ack()

    asyncio.run(scenario())
