"""Messages reach a consumer that waits with its wake-up, in the step that publishes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aats_broker_redis import RedisBroker

from aats_core.broker import Delivery, GroupStatus
from aats_core.message import Message, new_id
from plugins.brokers.redis.tests.conftest import Connected
from tests.services import RedisServer
from tests.services.proxy import Fault, FaultProxy


async def waiting(broker: RedisBroker, consumer: Any) -> asyncio.Future[Delivery]:
    """Return the next delivery, once the server knows that the consumer waits for it."""
    delivery = asyncio.ensure_future(anext(consumer))
    async with broker._client.link.client() as redis:
        while not await redis.hexists(f"{broker._root}idle:{consumer.group}", consumer.id):
            await asyncio.sleep(0.01)
    return delivery


async def held(broker: RedisBroker, topic: str) -> int:
    return sum(group.held for status in await broker.topics() if status.topic == topic for group in status.groups)


def counted(broker: RedisBroker) -> list[int]:
    """Return where the fetches of all consumers are counted from now on."""
    fetches, take = [0], broker._client.take

    async def count(wish: Any) -> Any:
        fetches[0] += 1
        return await take(wish)

    broker._client.take = count
    return fetches


@pytest.mark.parametrize(("size", "fetches"), [(10, 0), (200_000, 1)], ids=["small", "large"])
def test_only_a_large_message_has_to_be_fetched(
    server: RedisServer, connect: Connected, size: int, fetches: int
) -> None:
    topic = f"wake.{new_id()}"

    async def scenario() -> None:
        async with connect(server.port, lease=3600) as broker, broker.subscribe(topic, "g") as consumer:
            delivery = await waiting(broker, consumer)
            found = counted(broker)
            await broker.publish(topic, Message("m", "x" * size))
            assert len((await delivery).message.read(str)) == size
            assert found == [fetches]
            await delivery.result().ack()
            assert await held(broker, topic) == 0

    asyncio.run(scenario())


def test_messages_are_shared_among_those_that_wait(server: RedisServer, connect: Connected) -> None:
    topic = f"wake.{new_id()}"

    async def scenario() -> None:
        async with (
            connect(server.port) as broker,
            broker.subscribe(topic, "g") as one,
            broker.subscribe(topic, "g") as other,
        ):
            waits = [await waiting(broker, consumer) for consumer in (one, other)]
            await broker.publish_many(topic, [Message("m", value) for value in range(4)])
            found = [await wait for wait in waits] + [await anext(one), await anext(other)]
            assert {delivery.message.read(int) for delivery in found} == set(range(4))

    asyncio.run(scenario())


def test_a_consumer_is_handed_no_more_than_its_prefetch(server: RedisServer, connect: Connected) -> None:
    topic = f"wake.{new_id()}"

    async def scenario() -> None:
        async with connect(server.port) as broker, broker.subscribe(topic, "g", prefetch=3) as consumer:
            delivery = await waiting(broker, consumer)
            await broker.publish_many(topic, [Message("m", value) for value in range(20)])
            await delivery
            assert await held(broker, topic) == 3

    asyncio.run(scenario())


def test_what_nobody_waited_for_any_more_is_given_back_uncounted(server: RedisServer, connect: Connected) -> None:
    topic = f"wake.{new_id()}"

    async def scenario() -> None:
        async with connect(server.port) as broker, broker.subscribe(topic, "g") as next_one:
            async with broker.subscribe(topic, "g") as consumer:
                (await waiting(broker, consumer)).cancel()
                await broker.publish(topic, Message("m", 1))
                assert await held(broker, topic) == 1
            assert (await anext(next_one)).attempt == 1

    asyncio.run(scenario())


def test_a_wake_up_that_is_lost_takes_no_message_with_it(
    server: RedisServer, proxy: FaultProxy, connect: Connected
) -> None:
    topic = f"wake.{new_id()}"

    async def scenario() -> None:
        async with (
            connect(proxy.port, timeout=8.0) as deaf,
            connect(server.port) as broker,
            deaf.subscribe(topic, "g") as consumer,
        ):
            delivery = await waiting(deaf, consumer)
            await asyncio.to_thread(proxy.inject, Fault.HALF_OPEN)
            await broker.publish(topic, Message("m", "handed out"))
            assert await held(broker, topic) == 1
            await asyncio.to_thread(proxy.reset)
            await asyncio.to_thread(proxy.inject, Fault.NONE)
            found = await delivery
            assert (found.message.read(str), found.attempt) == ("handed out", 1)
            await found.ack()
            assert [s.groups for s in await broker.topics() if s.topic == topic] == [(GroupStatus("g", 1, 0, 0),)]

    asyncio.run(scenario())


def test_who_is_gone_is_handed_nothing(server: RedisServer, proxy: FaultProxy, connect: Connected) -> None:
    topic = f"wake.{new_id()}"

    async def scenario() -> None:
        async with (
            connect(proxy.port) as cut,
            connect(server.port) as broker,
            cut.subscribe(topic, "g") as gone,
            broker.subscribe(topic, "g") as there,
        ):
            lost = await waiting(cut, gone)
            await asyncio.to_thread(proxy.inject, Fault.CUT)
            async with broker._client.link.client() as redis:
                while dict(await redis.pubsub_numsub(f"{broker._root}wake:{cut._client.id}")).popitem()[1]:
                    await asyncio.sleep(0.01)
            delivery = await waiting(broker, there)
            for value in range(5):
                await broker.publish(topic, Message("m", value))
                assert (await delivery).attempt == 1
                await delivery.result().ack()
                delivery = await waiting(broker, there)
            assert not lost.done()
            await asyncio.to_thread(proxy.inject, Fault.NONE)
            for wait in (lost, delivery):
                wait.cancel()

    asyncio.run(scenario())
