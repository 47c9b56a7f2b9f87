"""The power of a server and its disk is cut: what a broker loses then depends on what the server syncs, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from aats_core.broker import Broker
from aats_core.message import Message
from tests.services import KafkaServer, NatsServer, RabbitServer, RedisServer
from tests.services.brokers import BENCHES, make_broker
from tests.services.disk import Disk
from tests.services.fixtures import refuse
from tests.services.service import Service

pytestmark = pytest.mark.faults

TOPIC, GROUP = "faults.power", "readers"
PACE = 0.005
QUIET = 5.0
"""Seconds without a message after which there are no more."""


class RedisEverySecond(RedisServer):
    """A Redis as it is by default with an append-only file."""

    def command(self) -> list[str]:
        return [word if word != "always" else "everysec" for word in super().command()]


class KafkaEveryMessage(KafkaServer):
    """A Kafka that syncs every message before it confirms it."""

    def options(self) -> dict[str, object]:
        return {**super().options(), "log.flush.interval.messages": 1}


class Case(NamedTuple):
    """A server as it is set up, for how long there is load before the cut, and within how much of it may be lost."""

    broker: str
    setting: str
    server: type[Service]
    load: float
    window: float


CASES = [
    Case("redis", "appendfsync always", RedisServer, 5.0, 0.0),
    Case("redis", "appendfsync everysec", RedisEverySecond, 10.0, 10.0),
    Case("rabbitmq", "quorum queues", RabbitServer, 5.0, 0.0),
    Case("nats", "sync_interval 2m (default)", NatsServer, 60.0, 60.0),
    Case("kafka", "log.flush.interval.messages 1", KafkaEveryMessage, 5.0, 0.0),
    Case("kafka", "no flush (default), one replica", KafkaServer, 60.0, 60.0),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Yield a mounted disk."""
    if reason := Disk.missing():
        refuse(reason)
    with Disk(tmp_path) as disk:
        yield disk


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.broker}, {case.setting}")
def test_the_power_is_cut(case: Case, disk: Disk, windows: list[tuple[object, ...]]) -> None:
    if reason := case.server.missing():
        refuse(reason)
    server = case.server(disk.path / "server")
    if server.given:
        pytest.skip("the power of a server that is given cannot be cut")
    try:
        confirmed, lost, window = asyncio.run(scenario(case, server, disk))
    finally:
        server.kill()
    windows.append((case.broker, case.setting, confirmed, lost, f"{window:.1f}" if lost else ""))
    assert confirmed > 100
    assert window <= case.window


async def scenario(case: Case, server: Service, disk: Disk) -> tuple[int, int, float]:
    """Return how many messages were confirmed, how many of them are lost, and how old the oldest of these was."""
    await asyncio.to_thread(server.start)
    section = {**BENCHES[case.broker].section(server.address(server.port)), "timeout": 5.0, "lease": 5.0}
    confirmed: dict[int, float] = {}
    broker = make_broker(section)
    await broker.connect()
    async with broker.subscribe(TOPIC, GROUP):
        await asyncio.to_thread(disk.sync)  # what the server began with is on any disk for long
        await publish(broker, confirmed, case.load)
        cut = time.monotonic()
        await asyncio.to_thread(disk.cut, server)
    await asyncio.to_thread(server.start)
    await broker.close()
    seen = await consume(make_broker(section))
    lost = confirmed.keys() - seen
    return len(confirmed), len(lost), max((cut - confirmed[number] for number in lost), default=0.0)


async def publish(broker: Broker, confirmed: dict[int, float], seconds: float) -> None:
    """Publish numbers, and note when each was confirmed."""
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        await broker.publish(TOPIC, Message("number", number))
        confirmed[number] = time.monotonic()
        number += 1
        await asyncio.sleep(PACE)


async def consume(broker: Broker) -> set[int]:
    """Return the numbers that are there."""
    seen: set[int] = set()
    await broker.connect()
    async with broker.subscribe(TOPIC, GROUP) as subscription:
        while True:
            try:
                async with asyncio.timeout(QUIET if seen else 3 * QUIET):
                    delivery = await anext(subscription)
            except TimeoutError:
                break
            seen.add(delivery.message.read(int))
            await delivery.ack()
    await broker.close()
    return seen
