"""What is Kafka's own: the server's end, foreign records, settings of topics, bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aats_broker_kafka import KafkaBroker, KafkaSettings
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from aats_core.broker import Delivery
from aats_core.errors import BrokerError, BrokerUnavailable, MessageTooLarge
from aats_core.health import HealthStatus
from aats_core.message import Message, new_id
from plugins.brokers.kafka.tests.conftest import QUICK, Opening
from tests.services.kafka import KafkaServer

PATIENCE = 60


def topic() -> str:
    return f"own.{new_id()}"


@pytest.mark.integration
class TestAServerThatDies:
    """Its own server, since kill -9 would meet other tests."""

    @pytest.mark.timeout(300)
    def test_what_it_confirmed_outlives_kill_9(self, possible: None, tmp_path: Path) -> None:
        server = KafkaServer(tmp_path)
        server.start()
        try:
            asyncio.run(self._kill(server))
        finally:
            server.stop()

    async def _kill(self, server: KafkaServer) -> None:
        name = topic()
        broker = KafkaBroker(KafkaSettings(servers=(server.url,), **{**QUICK, "timeout": 100.0}))
        await broker.connect()
        confirmed, handled = set[int](), list[int]()
        async with broker.subscribe(name, "g") as subscription:

            async def consume() -> None:
                async for delivery in subscription:
                    handled.append(delivery.message.read(int))
                    await delivery.ack()

            async def publish(value: int) -> None:
                try:
                    await broker.publish(name, Message("m", value))
                    confirmed.add(value)
                except BrokerUnavailable:
                    pass

            consuming = asyncio.create_task(consume())
            publishing = [asyncio.create_task(publish(value)) for value in range(200)]
            await asyncio.sleep(0.02)
            await asyncio.to_thread(server.kill)
            publishing += [asyncio.create_task(publish(value)) for value in range(200, 220)]
            assert (await broker.health()).status is HealthStatus.DOWN
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(120):
                await asyncio.gather(*publishing)
                while not confirmed <= set(handled):
                    await asyncio.sleep(0.05)
            consuming.cancel()
        assert confirmed >= set(range(200, 220))
        await broker.close()


def test_the_living_one_of_several_servers_is_found(client: Opening, server: KafkaServer) -> None:
    async def main() -> None:
        async with client(servers=["127.0.0.1:9", server.url]) as broker:
            await broker.publish(topic(), Message("m"))

    asyncio.run(main())


def test_without_a_server_connect_says_where_it_looked() -> None:
    async def main() -> None:
        broker = KafkaBroker(KafkaSettings(servers=("127.0.0.1:9",), timeout=0.5))
        with pytest.raises(BrokerUnavailable, match=r"at 127\.0\.0\.1:9 within .* Connection refused"):
            await broker.connect()
        with pytest.raises(BrokerUnavailable, match="not connected"):
            await broker.publish("t", Message("m"))
        await broker.close()

    asyncio.run(main())


def test_topics_are_made_as_the_settings_say(client: Opening, server: KafkaServer) -> None:
    async def main() -> None:
        name = topic()
        async with client(partitions=3, retention=3600, max_message_bytes=50_000) as broker:
            await broker.publish(name, Message("m"))
        admin = AIOKafkaAdminClient(bootstrap_servers=server.url)
        await admin.start()
        try:
            (described,) = await admin.describe_topics([name])
            assert len(described["partitions"]) == 3
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            options = {entry[0]: entry[1] for entry in answer.resources[0][4]}
            assert options["retention.ms"] == "3600000"
            assert int(options["max.message.bytes"]) >= 50_000
        finally:
            await admin.close()

    asyncio.run(main())


def test_more_copies_than_brokers_are_refused_with_what_to_do(client: Opening) -> None:
    async def main() -> None:
        name = topic()
        async with client() as broker:
            await broker.publish(name, Message("m"))
            assert "one copy" in (await broker.health()).detail
        async with client(replication_factor=3) as broker:
            with pytest.raises(BrokerError, match="replication_factor is 3, but the cluster has 1 brokers"):
                await broker.publish(topic(), Message("m"))
            health = await broker.health()
            assert health.status is HealthStatus.DEGRADED
            assert "replication_factor of 3" in health.detail

    asyncio.run(main())


def test_a_message_too_large_is_refused(client: Opening) -> None:
    async def main() -> None:
        name = topic()
        async with client(max_message_bytes=50_000) as broker, broker.subscribe(name, "g") as subscription:
            with pytest.raises(MessageTooLarge, match="max_message_bytes"):
                await broker.publish(name, Message("m", "x" * 50_000))
            await broker.publish(name, Message("m", "x" * 49_000))
            async with asyncio.timeout(PATIENCE):
                assert len((await anext(subscription)).message.read(str)) == 49_000

    asyncio.run(main())


def test_what_is_no_message_becomes_a_dead_letter(client: Opening, server: KafkaServer) -> None:
    async def main() -> None:
        name = topic()
        producer = AIOKafkaProducer(bootstrap_servers=server.url)
        async with client() as broker, broker.subscribe(name, "g") as subscription:
            await producer.start()
            await producer.send_and_wait(name, b"from elsewhere")
            await producer.send_and_wait(name, b'{"type":"m"}', headers=[("not-before", b"soon")])
            await producer.stop()
            await broker.publish(name, Message("m", "mine"))
            async with asyncio.timeout(PATIENCE):
                assert (await anext(subscription)).message.read(str) == "mine"
                while len(letters := await broker.dead_letters(name)) < 2:
                    await asyncio.sleep(0.02)
            contents = {letter.message.read(dict[str, str])["base64"] for letter in letters}
            assert contents == {"ZnJvbSBlbHNld2hlcmU=", "eyJ0eXBlIjoibSJ9"}

    asyncio.run(main())


def test_no_more_than_the_window_is_read_ahead_and_all_is_handed_out(client: Opening) -> None:
    async def main() -> None:
        name, count, window = topic(), 1500, 100
        most = 0
        async with client(window=window) as broker:
            async with broker.subscribe(name, "g"):
                pass
            await broker.publish_many(name, [Message("m", value) for value in range(count)])
            async with broker.subscribe(name, "g", prefetch=20) as subscription:
                queue = broker._subscriptions._groups[f"g@{name}"].queue
                found = set()
                async with asyncio.timeout(60):
                    while len(found) < count:
                        delivery = await anext(subscription)
                        found.add(delivery.message.read(int))
                        most = max(most, queue.count)
                        await delivery.ack()
        assert most == window

    asyncio.run(main())


def test_one_slow_message_stops_neither_others_nor_their_being_remembered(client: Opening) -> None:
    async def main() -> None:
        name, count = topic(), 600
        async with client(partitions=1) as broker:
            async with broker.subscribe(name, "g", prefetch=50) as subscription, asyncio.timeout(60):
                await broker.publish(name, Message("m", "slow"))
                slow = await anext(subscription)
                await broker.publish_many(name, [Message("m", value) for value in range(count)])
                for _ in range(count):
                    await (await anext(subscription)).ack()
                assert slow.attempt == 1
            async with broker.subscribe(name, "g") as subscription, asyncio.timeout(PATIENCE):
                again = await anext(subscription)
                assert (again.message.read(str), again.attempt) == ("slow", 2)
                await again.ack()
                await broker.publish(name, Message("m", "after"))
                assert (await anext(subscription)).message.read(str) == "after", "what was settled came again"

    asyncio.run(main())


def test_a_partition_whose_note_is_full_goes_on_when_the_earliest_are_settled(client: Opening) -> None:
    async def main() -> None:
        name, count = topic(), 2400
        async with client(partitions=1) as broker, broker.subscribe(name, "g", prefetch=count) as subscription:
            group = broker._subscriptions._groups[f"g@{name}"]
            (part,) = group.partitions.values()
            held, seen, full = list[Delivery](), set[int](), asyncio.Event()

            async def consume() -> None:
                async for delivery in subscription:
                    value = delivery.message.read(int)
                    seen.add(value)
                    if value % 2 or full.is_set():
                        await delivery.ack()
                    else:
                        held.append(delivery)

            consuming = asyncio.create_task(consume())
            await broker.publish_many(name, [Message("m", value) for value in range(count)])
            async with asyncio.timeout(PATIENCE):
                while part.has_room() or subscription._coming or not subscription._waiting:
                    await group._committer.soon((part,))  # after which there may be room again
            assert 500 < len(seen) < count
            full.set()
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(delivery.ack() for delivery in held))
                while len(seen) < count:
                    await asyncio.sleep(0.02)
            consuming.cancel()

    asyncio.run(main())


def test_four_hundred_events_at_once_are_all_handled(client: Opening) -> None:
    async def main() -> None:
        name = topic()
        async with client() as broker, broker.subscribe(name, "g") as subscription:
            found: set[int] = set()

            async def handle(delivery: Delivery) -> None:
                await asyncio.sleep(0.01)
                await delivery.ack()
                found.add(delivery.message.read(int))

            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                for value in range(400):
                    tasks.create_task(broker.publish(name, Message("m", value)))
                for _ in range(400):
                    tasks.create_task(handle(await anext(subscription)))
            assert found == set(range(400))

    asyncio.run(main())


def test_a_trickle_of_messages_does_not_stall(client: Opening) -> None:
    async def main() -> None:
        name = topic()
        async with client(partitions=6) as broker, broker.subscribe(name, "g") as subscription:
            for value in range(12):
                await broker.publish(name, Message("m", value), key=str(value))
                async with asyncio.timeout(PATIENCE):
                    delivery = await anext(subscription)
                assert delivery.message.read(int) == value
                await delivery.ack()
                await asyncio.sleep(0.05)

    asyncio.run(main())
