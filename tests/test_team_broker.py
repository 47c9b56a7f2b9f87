"""The traffic of a broker is counted, and offered to Prometheus; what a process holds it keeps."""

from __future__ import annotations

import asyncio

from aats_broker_memory import MemoryBroker, MemorySettings
from prometheus_client import CollectorRegistry

from aats_core.clock import RealClock, VirtualClock
from aats_core.exposition import BrokerCollector
from aats_core.message import Message
from aats_core.team_broker import TeamBroker
from aats_core.topics import TeamTopics


def counted() -> CollectorRegistry:
    """Return the figures of a broker that published six messages, of which five were settled in every way."""

    async def scenario() -> CollectorRegistry:
        broker = TeamBroker(MemoryBroker(MemorySettings()), lease=30.0)
        registry = CollectorRegistry()
        registry.register(BrokerCollector(broker.figures))
        await broker.connect()
        async with broker.subscribe("ours.t", "g", prefetch=10) as subscription:
            await broker.publish_many("ours.t", [Message("m") for _ in range(5)])
            await broker.publish("ours.t", Message("m"))
            for _ in range(2):
                delivery = await anext(subscription)
                await delivery.ack()
                await delivery.ack()
            await (await anext(subscription)).nack(reason="not now")
            await (await anext(subscription)).reject(reason="broken")
            await anext(subscription)
            await broker.dead_letter("ours.t", Message("m"), reason="never", attempts=1)
            looking = asyncio.create_task(broker.look(TeamTopics(broker, "ours"), RealClock()))
            await asyncio.sleep(0.01)
            looking.cancel()
        await broker.close()
        return registry

    return asyncio.run(scenario())


def test_every_way_of_a_message_is_counted_once() -> None:
    registry = counted()
    names = ("published", "delivered", "redelivered", "acknowledged", "returned", "dead")
    counts = {name: registry.get_sample_value(f"aats_broker_{name}_total") for name in names}
    assert counts == {
        "published": 6,
        "delivered": 5,
        "redelivered": 1,
        "acknowledged": 2,
        "returned": 1,
        "dead": 2,
    }
    assert registry.get_sample_value("aats_broker_held") == 1
    assert registry.get_sample_value("aats_broker_latency_seconds_count") == 5


def test_what_waits_is_told_by_topic_and_group() -> None:
    registry = counted()
    group = {"topic": "t", "group": "g"}
    assert registry.get_sample_value("aats_topic_waiting", group) == 2
    assert registry.get_sample_value("aats_topic_consumers", group) == 1
    assert registry.get_sample_value("aats_topic_dead_letters", {"topic": "t"}) == 2


def test_what_is_held_keeps_its_lease_until_it_is_settled() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        broker = TeamBroker(MemoryBroker(MemorySettings(lease=30.0), clock), lease=30.0)
        await broker.connect()
        renewing = asyncio.create_task(broker.renew(clock))
        async with broker.subscribe("t", "g") as one, broker.subscribe("t", "g") as other:
            await broker.publish("t", Message("slow"))
            delivery = await anext(one)
            await clock.advance(600)
            stolen = asyncio.ensure_future(anext(other))
            await asyncio.sleep(0)
            assert not stolen.done(), "a live handler lost its message"
            await delivery.nack()
            assert (await stolen).attempt == 2
        renewing.cancel()
        await broker.close()

    asyncio.run(scenario())
