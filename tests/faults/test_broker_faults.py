"""Whatever happens to consumers, connections and servers: what was confirmed is handled, and every effect is once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from aats_core.broker import Broker
from aats_core.message import Message
from tests.faults.consumer import Moment, Poison
from tests.faults.scene import Scene
from tests.services.cluster import Cluster
from tests.services.proxy import Fault

pytestmark = pytest.mark.faults

FLOW_AGAIN = 10.0
"""Seconds after a fault within which messages have to flow again."""
LEADERLESS = 60.0
"""Seconds within which a message has its effect that a cluster confirmed without the leader it had."""


@pytest.mark.parametrize("moment", [moment for moment in Moment if moment is not Moment.NEVER])
def test_a_consumer_is_killed(scene: Scene, moment: Moment) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            scene.consume(moment=moment, at=scene.random.randint(1, 30), pace=0.01)
            await scene.publish(broker, range(200))
            scene.consume()
            await scene.settle()

    asyncio.run(scenario())


def test_the_server_is_killed_under_load(scene: Scene) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            for _ in range(2):
                scene.consume()
            async with load(scene, broker):
                for _ in range(2):
                    await asyncio.sleep(scene.random.uniform(0.5, 1.5))
                    await asyncio.to_thread(scene.server.kill)
                    await asyncio.to_thread(scene.server.start)
                    await flow_again(scene)
            await scene.settle()

    asyncio.run(scenario())


def test_the_leader_of_a_cluster_is_killed_under_load(cluster_scene: Scene) -> None:
    scene, cluster = cluster_scene, cluster_scene.server
    assert isinstance(cluster, Cluster)

    async def scenario() -> None:
        async with connected(scene) as broker:
            for _ in range(2):
                scene.consume()
            async with load(scene, broker):
                await asyncio.sleep(scene.random.uniform(0.5, 1.5))
                leader = await asyncio.to_thread(cluster.leader, "aats")
                await asyncio.to_thread(leader.kill)
                before = set(scene.confirmed)
                scene.recovery = await scene.until(lambda: scene.handled() - before, LEADERLESS, lambda: "no flow")
                await asyncio.to_thread(leader.start)
            await scene.settle()

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.STALL, Fault.HALF_OPEN])
def test_the_network_fails_for_thirty_seconds(scene: Scene, fault: Fault) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            scene.consume()
            async with load(scene, broker):
                await asyncio.sleep(1)
                scene.proxy.inject(fault)
                await asyncio.sleep(30)
                scene.proxy.inject(Fault.NONE)
                await flow_again(scene)
            await scene.settle()

    asyncio.run(scenario())


def test_messages_come_twice_and_out_of_order(scene: Scene) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            values = scene.random.sample(range(1000), 1000)
            for _ in range(2):
                scene.consume()
            await scene.publish(broker, values, twice=0.1)
            await scene.settle()

    asyncio.run(scenario())


@pytest.mark.parametrize("poison", Poison)
def test_a_message_is_poison(scene: Scene, poison: Poison) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            consumer = scene.consume()
            await scene.publish(broker, range(20))
            await broker.publish(scene.job.topic, Message("poison", poison.value))
            await scene.publish(broker, range(20, 40))
            while not (letters := await broker.dead_letters(scene.job.topic)):
                await asyncio.sleep(0.05)
                if consumer.poll() is not None:
                    consumer = scene.consume()
            await scene.settle()
            assert [(letter.message.read(str), letter.attempts) for letter in letters] == [(poison, 4)]
            attempts = Counter(line for line in scene.deliveries.lines() if line.startswith(poison))
            assert attempts == Counter([f"{poison} {number}" for number in range(1, 5)])

    asyncio.run(scenario())


def test_a_slow_consumer_stands_beside_a_fast_publisher(scene: Scene) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            scene.consume(prefetch=10)
            await scene.publish(broker, range(10))
            await scene.settle()
            (before,) = scene.end()
            scene.consume(prefetch=10, pace=1.0)
            await scene.publish(broker, range(10, 20_010))
            await asyncio.sleep(2)
            (after,) = scene.end()
            assert after < before + 50, f"{after - before} MiB for messages that nobody had asked for"
            for _ in range(2):
                scene.consume(prefetch=500)
            await scene.settle(240)

    asyncio.run(scenario())


def test_four_hundred_events_come_at_once(scene: Scene) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            scene.consume(prefetch=400)
            await asyncio.gather(*(scene.publish(broker, [value]) for value in range(400)))
            await scene.settle()

    asyncio.run(scenario())


def test_messages_trickle(scene: Scene) -> None:
    async def scenario() -> None:
        async with connected(scene) as broker:
            scene.consume()
            for value in range(8):
                await scene.publish(broker, [value])
                await scene.settle(5)
                await asyncio.sleep(1)

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def connected(scene: Scene) -> AsyncIterator[Broker]:
    """Yield a connected client, and make the group exist before anything is published."""
    broker = scene.broker()
    await broker.connect()
    try:
        async with broker.subscribe(scene.job.topic, "workers", prefetch=1):
            pass
        yield broker
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def load(scene: Scene, broker: Broker) -> AsyncIterator[None]:
    """Publish about 200 messages a second, whether or not they are confirmed, for as long as the block lasts."""

    async def publish() -> None:
        first = 0
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                group.create_task(scene.publish(broker, range(first, first + 20)))
                first += 20
                await asyncio.sleep(0.1)

    over = asyncio.Event()
    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        over.set()
        await publishing


async def flow_again(scene: Scene) -> None:
    """Wait until new messages have their effect, and remember how long that took."""
    before = len(scene.effects.lines())
    took = await scene.until(lambda: len(scene.effects.lines()) > before, FLOW_AGAIN, lambda: "nothing flows")
    scene.recovery = max(scene.recovery, took)
