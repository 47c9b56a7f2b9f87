from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aats_core.broker import GroupStatus, TopicStatus
from aats_core.errors import BrokerError, InvalidRequest, MessageTooLarge
from aats_core.message import Message, new_id
from plugins.brokers.redis.tests.conftest import Connected
from tests.services import RedisServer


class TestServer:
    def test_what_is_handled_leaves_nothing_behind(
        self, own_server: Callable[..., RedisServer], connect: Connected
    ) -> None:
        server = own_server()

        async def scenario() -> None:
            async with connect(server.port) as broker, broker.subscribe("t", "g") as subscription:
                for value in range(20):
                    await broker.publish_many("t", [Message("m", value)] * 10, key=f"k{value % 3}")
                    await broker.publish("t", Message("m", value), not_before=0.001)
                for number in range(220):
                    delivery = await anext(subscription)
                    await (delivery.nack() if number % 20 == 7 else delivery.ack())
                for _ in range(11):
                    await (await anext(subscription)).ack()
                assert await broker.topics() == [TopicStatus("t", (GroupStatus("g", 1, 0, 0),))]
                for part in ("lane", "busy", "later", "dead"):
                    assert part.encode() not in server.ask("KEYS *")

        asyncio.run(scenario())

    def test_a_full_server_refuses_messages_and_lets_consumers_make_room(
        self, own_server: Callable[..., RedisServer], connect: Connected
    ) -> None:
        server = own_server(maxmemory="12mb", maxmemory_policy="noeviction")

        async def scenario() -> None:
            body, accepted = "x" * 200_000, 0

            async def fill() -> None:
                nonlocal accepted
                while True:
                    await broker.publish("t", Message("m", body))
                    accepted += 1

            async with connect(server.port) as broker, broker.subscribe("t", "g", prefetch=10) as subscription:
                with pytest.raises(BrokerError, match="no memory left"):
                    await fill()
                await (await anext(subscription)).nack()
                await (await anext(subscription)).reject(reason="no")
                for _ in range(accepted - 1):
                    await (await anext(subscription)).ack()
                await broker.publish("t", Message("m", "after"))
                assert (await anext(subscription)).message.read(str) == "after"

        asyncio.run(scenario())

    def test_a_consumer_can_leave_where_somebody_deleted_its_messages(
        self, own_server: Callable[..., RedisServer], connect: Connected
    ) -> None:
        server = own_server()

        async def scenario() -> None:
            async with connect(server.port) as broker:
                async with broker.subscribe("t", "g") as subscription:
                    await broker.publish("t", Message("m", "deleted"))
                    await anext(subscription)
                    for key in server.ask("KEYS *:p5:*").split(b"\r\n")[2::2]:
                        name = key.decode().replace("\0", "\\x00")
                        assert server.ask(f'XTRIM "{name}" MAXLEN 0').startswith(b":1")
                await broker.publish("t", Message("m", "after"))
                async with broker.subscribe("t", "g") as subscription:
                    assert (await anext(subscription)).message.read(str) == "after"

        asyncio.run(scenario())


class TestClient:
    def test_a_consumer_fetches_no_more_than_its_prefetch(self, server: RedisServer, connect: Connected) -> None:
        topic = f"bounds.{new_id()}"

        async def scenario() -> None:
            async with connect(server.port) as broker, broker.subscribe(topic, "g", prefetch=7) as subscription:
                await broker.publish_many(topic, [Message("m", value) for value in range(500)])
                await anext(subscription)
                (status,) = [status for status in await broker.topics() if status.topic == topic]
                assert status.groups == (GroupStatus("g", 1, 493, 7),)

        asyncio.run(scenario())

    def test_four_hundred_events_at_once_all_arrive(self, server: RedisServer, connect: Connected) -> None:
        topic = f"bounds.{new_id()}"

        async def scenario() -> None:
            async with connect(server.port) as broker, broker.subscribe(topic, "g", prefetch=5) as subscription:
                await asyncio.gather(*(broker.publish(topic, Message("m", value)) for value in range(400)))
                found = set()
                for _ in range(400):
                    delivery = await anext(subscription)
                    found.add(delivery.message.read(int))
                    await delivery.ack()
                assert found == set(range(400))

        asyncio.run(scenario())

    def test_many_consumers_need_few_connections(
        self, own_server: Callable[..., RedisServer], connect: Connected
    ) -> None:
        server = own_server()

        async def scenario() -> None:
            async with connect(server.port) as broker:
                consumers = [broker.subscribe(f"t.{number}", "g") for number in range(200)]
                await asyncio.gather(*(consumer.__aenter__() for consumer in consumers))
                waiting = [asyncio.ensure_future(anext(consumer)) for consumer in consumers]
                await asyncio.gather(*(broker.publish(f"t.{number}", Message("m", number)) for number in range(200)))
                found = [(await wait).message.read(int) for wait in waiting]
                assert found == list(range(200))
                assert server.ask("CLIENT LIST").count(b"addr=") <= 2 * 15  # each line has an addr and a laddr

        asyncio.run(scenario())

    def test_a_message_larger_than_a_batch_is_carried(self, server: RedisServer, connect: Connected) -> None:
        topic, body = f"bounds.{new_id()}", "x" * 5_000_000

        async def scenario() -> None:
            async with connect(server.port) as broker, broker.subscribe(topic, "g") as subscription:
                await asyncio.gather(*(broker.publish(topic, Message("m", body)) for _ in range(3)))
                for _ in range(3):
                    delivery = await anext(subscription)
                    assert delivery.message.read(str) == body
                    await delivery.ack()

        asyncio.run(scenario())

    def test_what_cannot_be_is_refused(self, server: RedisServer, connect: Connected) -> None:
        async def scenario() -> None:
            async with connect(server.port, max_message_bytes=1000) as broker:
                with pytest.raises(MessageTooLarge, match="max_message_bytes"):
                    await broker.publish("t", Message("m", "x" * 1000))
                with pytest.raises(InvalidRequest, match="prefetch is 0"):
                    broker.subscribe("t", "g", prefetch=0)
                with pytest.raises(InvalidRequest, match="2 are named"):
                    await broker.replay("t", ["1", "2"], edited=Message("m"))
                with pytest.raises(BrokerError, match="async with"):
                    await anext(broker.subscribe("t", "g"))

        asyncio.run(scenario())
