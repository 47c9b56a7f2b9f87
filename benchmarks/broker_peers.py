"""What our brokers are measured beside: each server's own driver as one would use it by hand, and FastStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol
from uuid import uuid4

from aats_core.message import Message
from tests.services import RabbitServer
from tests.services.brokers import BENCHES, make_broker

Publish = Callable[[bytes], Awaitable[object]]


class Sink(Protocol):
    """What is told of each message."""

    def received(self, data: bytes) -> None:
        """Its handler begins."""

    def settled(self, data: bytes) -> None:
        """It is acknowledged; with a framework that does so afterwards, its handler ends."""


Way = Callable[[str, Sink], Any]
"""Opens a way through a server: an async context manager that yields how to publish, and tells what came."""

PREFETCH = 100


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[None]:
    """Run something beside what is inside."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        while not task.done():
            task.cancel()  # redis-py may swallow a cancellation that comes while it reads
            await asyncio.wait({task}, timeout=0.1)


def aats(name: str) -> Way:
    """Return the way through one of our brokers: every publish and every ack awaits its own confirmation."""

    @asynccontextmanager
    async def way(url: str, sink: Sink) -> AsyncIterator[Publish]:
        broker, topic = make_broker(BENCHES[name].section(url)), f"bench.t{uuid4().hex}"
        await broker.connect()

        async def handle(delivery: Any) -> None:
            data = delivery.message.read(str).encode()
            sink.received(data)
            await delivery.ack()
            sink.settled(data)

        async def consume(subscription: Any) -> None:
            async with asyncio.TaskGroup() as group:
                async for delivery in subscription:
                    group.create_task(handle(delivery))

        async with broker.subscribe(topic, "g", prefetch=PREFETCH) as subscription, running(consume(subscription)):
            yield lambda data: broker.publish(topic, Message("bench", data.decode()))
        await broker.close()

    return way


@asynccontextmanager
async def redis_calls(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """Redis Streams by redis-py, a command a call."""
    from redis.asyncio import Redis

    client, stream = Redis.from_url(url, max_connections=200), uuid4().hex
    await client.xgroup_create(stream, "g", mkstream=True)

    async def consume() -> None:
        while True:
            for _, entries in await client.xreadgroup("g", "c", {stream: ">"}, count=PREFETCH, block=1000):
                for entry, fields in entries:
                    sink.received(fields[b"d"])
                    await client.xack(stream, "g", entry)
                    sink.settled(fields[b"d"])

    async with client, running(consume()):
        yield lambda data: client.xadd(stream, {"d": data})


@asynccontextmanager
async def redis_streams(url: str) -> AsyncIterator[tuple[Any, str, Publish]]:
    """Open a client with a new stream, to which it writes in one pipeline what is asked for at the same time."""
    from redis.asyncio import Redis

    from aats_core.batching import Batcher

    client, stream = Redis.from_url(url, max_connections=200), uuid4().hex
    await client.xgroup_create(stream, "g", mkstream=True)

    async def send(batch: list[bytes]) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for data in batch:
            pipeline.xadd(stream, {"d": data})
        return list(await pipeline.execute())

    batcher: Batcher[bytes, Any] = Batcher(send)
    async with client:
        yield client, stream, batcher.do


@asynccontextmanager
async def redis_pipelined(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """Redis Streams by redis-py, pipelined, and what is read together acknowledged together."""
    async with redis_streams(url) as (client, stream, publish):

        async def consume() -> None:
            while True:
                for _, entries in await client.xreadgroup("g", "c", {stream: ">"}, count=PREFETCH, block=1000):
                    for _, fields in entries:
                        sink.received(fields[b"d"])
                    await client.xack(stream, "g", *(entry for entry, _ in entries))
                    for _, fields in entries:
                        sink.settled(fields[b"d"])

        async with running(consume()):
            yield publish


@asynccontextmanager
async def redis_each(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """The same, each message handled by a task of its own, which awaits that it is acknowledged, as one does with ours.

    A message is acknowledged and stays in the stream, while ours deletes it.
    """
    from aats_core.batching import Batcher

    async with redis_streams(url) as (client, stream, publish):

        async def acknowledge(entries: list[Any]) -> list[None]:
            await client.xack(stream, "g", *entries)
            return [None] * len(entries)

        batcher: Batcher[Any, None] = Batcher(acknowledge)

        async def handle(entry: Any, data: bytes) -> None:
            sink.received(data)
            await batcher.do(entry)
            sink.settled(data)

        async def consume() -> None:
            async with asyncio.TaskGroup() as group:
                while True:
                    for _, entries in await client.xreadgroup("g", "c", {stream: ">"}, count=PREFETCH, block=1000):
                        for entry, fields in entries:
                            group.create_task(handle(entry, fields[b"d"]))

        async with running(consume()):
            yield publish


@asynccontextmanager
async def nats_calls(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """JetStream by nats-py: a durable pull consumer."""
    import nats

    client, name = await nats.connect(url), f"b{uuid4().hex}"
    stream = client.jetstream()
    await stream.add_stream(name=name, subjects=[name])
    subscription = await stream.pull_subscribe(name, "g")

    async def consume() -> None:
        while True:
            try:
                messages = await subscription.fetch(PREFETCH, timeout=1)
            except TimeoutError:
                continue
            for message in messages:
                sink.received(message.data)
                await message.ack()
                sink.settled(message.data)

    async with running(consume()):
        yield lambda data: stream.publish(name, data)
    await client.close()


def rabbitmq_url(url: str) -> str:
    """Return the address of the virtual host, with user and password in it."""
    return f"{url.replace('://', f'://{RabbitServer.user}:{RabbitServer.password}@')}/aats"


@asynccontextmanager
async def rabbitmq_calls(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """A quorum queue by aio-pika, with publisher confirms."""
    import aio_pika

    connection, name = await aio_pika.connect(rabbitmq_url(url)), uuid4().hex
    channel, sending = await connection.channel(), await connection.channel()
    await channel.set_qos(PREFETCH)
    queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})

    async def handle(message: Any) -> None:
        sink.received(message.body)
        await message.ack()
        sink.settled(message.body)

    await queue.consume(handle)
    mode = aio_pika.DeliveryMode.PERSISTENT
    yield lambda data: sending.default_exchange.publish(aio_pika.Message(data, delivery_mode=mode), name)
    await queue.delete(if_unused=False, if_empty=False)
    await connection.close()


@asynccontextmanager
async def kafka_clients(url: str) -> AsyncIterator[tuple[Any, Any, str]]:
    """Open aiokafka's idempotent producer and a consumer of a new topic: acks=all, checksums verified, as ours."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    servers, topic = url.removeprefix("kafka://"), uuid4().hex
    async with AsyncExitStack() as stack:
        await create_topic(servers, topic)
        producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
        await producer.start()
        stack.push_async_callback(producer.stop)
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=servers, group_id=topic, enable_auto_commit=False, auto_offset_reset="latest"
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        await consumer.seek_to_end()
        yield producer, consumer, topic


@asynccontextmanager
async def kafka_calls(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """A topic by aiokafka, a batch at a time: one commit for all of it.

    No message has a task or a confirmation of its own, so this is less than what is measured of ours.
    """

    async def consume(consumer: Any) -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=1000, max_records=PREFETCH)
            found = [record.value for records in batches.values() for record in records]
            for value in found:
                sink.received(value)
            if batches:
                await consumer.commit()
            for value in found:
                sink.settled(value)

    async with kafka_clients(url) as (producer, consumer, topic), running(consume(consumer)):
        yield lambda data: producer.send_and_wait(topic, data)


@asynccontextmanager
async def kafka_each(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """A topic by aiokafka, each message handled by a task of its own, which awaits a commit that covers it.

    This is how one works with ours. But the commit covers earlier messages that are in hand still, which a crash loses;
    and nothing says how often they were handed out, which ours commits before that.
    """
    from aiokafka import TopicPartition

    from aats_core.batching import Batcher

    async with kafka_clients(url) as (producer, consumer, topic):

        async def commit(records: list[Any]) -> list[None]:
            await consumer.commit({TopicPartition(topic, record.partition): record.offset + 1 for record in records})
            return [None] * len(records)

        batcher: Batcher[Any, None] = Batcher(commit)

        async def handle(record: Any) -> None:
            sink.received(record.value)
            await batcher.do(record)
            sink.settled(record.value)

        async def consume() -> None:
            async with asyncio.TaskGroup() as group:
                while True:
                    batches = await consumer.getmany(timeout_ms=1000, max_records=PREFETCH)
                    for records in batches.values():
                        for record in records:
                            group.create_task(handle(record))

        async with running(consume()):
            yield lambda data: producer.send_and_wait(topic, data)


async def create_topic(servers: str, topic: str) -> None:
    """Make a topic with as many partitions as ours have."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=6, replication_factor=1)])
    await admin.close()


@asynccontextmanager
async def redis_faststream(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """Redis Streams by FastStream."""
    from faststream.redis import RedisBroker, StreamSub

    broker, stream = RedisBroker(url, logger=None, max_connections=200), uuid4().hex

    @broker.subscriber(stream=StreamSub(stream, group="g", consumer="c", last_id=">", max_records=PREFETCH))
    async def handle(data: bytes) -> None:
        sink.received(data)
        sink.settled(data)

    async with broker:
        await broker.start()
        yield lambda data: broker.publish(data, stream=stream)


@asynccontextmanager
async def nats_faststream(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """JetStream by FastStream."""
    from faststream.nats import JStream, NatsBroker, PullSub

    broker, name = NatsBroker(url, logger=None), f"b{uuid4().hex}"

    @broker.subscriber(name, stream=JStream(name), durable="g", pull_sub=PullSub(batch_size=PREFETCH))
    async def handle(data: bytes) -> None:
        sink.received(data)
        sink.settled(data)

    async with broker:
        await broker.start()
        yield lambda data: broker.publish(data, name, stream=name)


@asynccontextmanager
async def rabbitmq_faststream(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """A quorum queue by FastStream."""
    from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

    broker = RabbitBroker(rabbitmq_url(url), logger=None, default_channel=Channel(prefetch_count=PREFETCH))
    queue = RabbitQueue(uuid4().hex, queue_type=QueueType.QUORUM, durable=True)

    @broker.subscriber(queue)
    async def handle(data: bytes) -> None:
        sink.received(data)
        sink.settled(data)

    async with broker:
        await broker.start()
        yield lambda data: broker.publish(data, queue, persist=True)


@asynccontextmanager
async def kafka_faststream(url: str, sink: Sink) -> AsyncIterator[Publish]:
    """A topic by FastStream."""
    from faststream import AckPolicy
    from faststream.kafka import KafkaBroker

    broker, topic = KafkaBroker(url.removeprefix("kafka://"), logger=None, enable_idempotence=True), uuid4().hex

    @broker.subscriber(topic, group_id=topic, auto_offset_reset="latest", ack_policy=AckPolicy.ACK)
    async def handle(data: bytes) -> None:
        sink.received(data)
        sink.settled(data)

    await create_topic(url.removeprefix("kafka://"), topic)
    async with broker:
        await broker.start()
        await asyncio.sleep(4)  # until its group is settled
        yield lambda data: broker.publish(data, topic)
