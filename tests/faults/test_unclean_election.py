"""The copy of a Kafka partition that fell behind comes back alone: what a server's setting lets it lose then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from aats_broker_kafka import KafkaBroker
from aats_broker_kafka.driver import TopicPartition

from aats_core.errors import BrokerUnavailable
from aats_core.message import Message
from tests.faults.test_power_cut import GROUP, TOPIC, consume
from tests.services.brokers import make_broker
from tests.services.fixtures import refuse
from tests.services.kafka import KafkaCluster, KafkaServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

LOAD = 10.0
PATIENCE = 180.0
PROBES = 1_000_000


@pytest.mark.parametrize("unclean", ["false", "true"])
def test_the_last_copy_in_sync_dies(unclean: str, tmp_path: Path, windows: list[tuple[object, ...]]) -> None:
    if reason := KafkaServer.missing():
        refuse(reason)
    cluster = KafkaCluster(tmp_path)
    for node in cluster.nodes.values():
        node.extra = {"unclean.leader.election.enable": unclean}
    try:
        cluster.start()
        confirmed, lost, age = asyncio.run(scenario(cluster, alone=unclean == "true"))
    finally:
        cluster.stop()
    setting = f"two copies, unclean.leader.election.enable {unclean}"
    windows.append(("kafka", setting, confirmed, lost, f"{age:.1f}" if lost else ""))
    assert confirmed > 100
    assert bool(lost) == (unclean == "true")


async def scenario(cluster: KafkaCluster, *, alone: bool) -> tuple[int, int, float]:
    """Return how many messages were confirmed, how many of them are lost, and how old the oldest of these was.

    One copy dies, later the other, and then the first one comes back; `alone` until a message could be published.
    """
    settings: dict[str, Any] = {"partitions": 1, "replication_factor": 2, "session": 2, "heartbeat": 0.2}
    section = {"plugin": "kafka", "servers": cluster.urls, "timeout": 20.0, "lease": 5.0, **settings}
    broker = make_broker(section)
    assert isinstance(broker, KafkaBroker)
    await broker.connect()
    confirmed: dict[int, float] = {}
    async with broker.subscribe(TOPIC, GROUP):
        await publish(broker, confirmed, 2.0)
        leader, follower = copies(broker)
        await asyncio.to_thread(cluster.nodes[follower].kill)
        await publish(broker, confirmed, LOAD)
        died = time.monotonic()
        await asyncio.to_thread(cluster.nodes[leader].kill)
        await asyncio.to_thread(cluster.nodes[follower].start)
        if not alone:
            await asyncio.to_thread(cluster.nodes[leader].start)
        await publish(broker, {}, 1.0, first=PROBES)
    await broker.close()
    lost = confirmed.keys() - await consume(make_broker(section))
    return len(confirmed), len(lost), max((died - confirmed[number] for number in lost), default=0.0)


def copies(broker: KafkaBroker) -> tuple[int, int]:
    """Return the nodes that hold the topic: the leader, and the other one."""
    driver = broker._connected().driver
    leader = driver.leader(TopicPartition(TOPIC, 0))
    assert leader is not None
    others = [node for node in driver.cluster._partitions[TOPIC][0].replicas if node != leader]
    return leader, others[0]


async def publish(broker: KafkaBroker, confirmed: dict[int, float], seconds: float, first: int = 0) -> None:
    """Publish numbers, each until it is confirmed, and note when that was."""
    until, number = time.monotonic() + seconds, first + len(confirmed)
    while time.monotonic() < until:
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(BrokerUnavailable):
                    await broker.publish(TOPIC, Message("number", number))
                    break
        confirmed[number] = time.monotonic()
        number += 1
        await asyncio.sleep(0.01)
