"""A cluster of Kafka nodes of which some are killed: what it confirmed is on others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aats_broker_kafka import KafkaBroker
from aats_broker_kafka.driver import TopicPartition

from aats_core.broker import Broker
from aats_core.errors import BrokerUnavailable
from aats_core.message import Message
from tests.faults.scene import Scene
from tests.faults.table import note
from tests.faults.test_broker_faults import connected, load
from tests.services.brokers import BENCHES
from tests.services.fixtures import refuse
from tests.services.kafka import KafkaCluster, KafkaServer
from tests.services.proxy import FaultProxy

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

PATIENCE = 180.0
PROBES = range(1_000_000, 1_000_030)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    """Yield three running nodes."""
    if reason := KafkaServer.missing():
        refuse(reason)
    cluster = KafkaCluster(tmp_path / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def scene(request: pytest.FixtureRequest, cluster: KafkaCluster, tmp_path: Path) -> Iterator[Scene]:
    """Yield a scene on the cluster, whose topics have three copies."""
    first = cluster.nodes[1]
    with FaultProxy(first.behind, first.front) as unused:
        scene = Scene(BENCHES["kafka"], first, unused, tmp_path)
        scene.section.update(servers=cluster.urls, replication_factor=3, timeout=20.0, session=10.0, heartbeat=1.0)
        try:
            yield scene
        finally:
            scene.end()
    note(request, scene, "one node of three")


def test_a_leader_is_killed_under_load(scene: Scene, cluster: KafkaCluster) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            assert isinstance(broker, KafkaBroker)
            for _ in range(2):
                scene.consume()
            async with load(scene, broker):
                for turn in range(2):
                    await whole(scene, broker)
                    node = leader(scene, broker, turn)
                    await asyncio.to_thread(cluster.nodes[node].kill)
                    await flow_everywhere(scene, broker, turn)
                    await asyncio.to_thread(cluster.nodes[node].start)
            await scene.settle()

    asyncio.run(scenario())


def leader(scene: Scene, broker: KafkaBroker, partition: int) -> int:
    """Return the node that leads a partition."""
    node = broker._connected().driver.leader(TopicPartition(scene.job.topic, partition))
    assert node is not None
    return node


async def whole(scene: Scene, broker: KafkaBroker) -> None:
    """Wait until every partition has three copies in sync."""
    driver = broker._connected().driver
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(BrokerUnavailable):
                await driver.refresh()
                partitions = driver.cluster._partitions[scene.job.topic].values()
                if all(len(partition.isr) == 3 for partition in partitions):
                    return
            await asyncio.sleep(0.1)


async def flow_everywhere(scene: Scene, broker: Broker, turn: int) -> None:
    """Wait until messages with keys, which go to every partition, have their effect; remember how long that took."""
    began = time.monotonic()
    values = [value + turn * len(PROBES) for value in PROBES]
    await asyncio.gather(*(probe(scene, broker, value) for value in values))
    await scene.until(lambda: not scene.missing() & set(values), PATIENCE, lambda: "nothing flows")
    scene.recovery = max(scene.recovery, time.monotonic() - began)


async def probe(scene: Scene, broker: Broker, value: int) -> None:
    """Publish a message until that is confirmed."""
    async with asyncio.timeout(PATIENCE):
        while value not in scene.confirmed:
            with contextlib.suppress(BrokerUnavailable):
                await broker.publish(scene.job.topic, Message("number", value), key=str(value))
                scene.confirmed.add(value)
