"""Taskiq on each server: a task carries what is published, and is handled by a worker in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from broker_peers import PREFETCH, Publish, Sink, Way, create_topic, rabbitmq_url, running


def taskiq(make: Callable[[str, str], Awaitable[Any]], settle: float = 0.5) -> Way:
    """Return the way through a broker of Taskiq, made for an address and a name that nobody else uses."""

    @asynccontextmanager
    async def way(url: str, sink: Sink) -> AsyncIterator[Publish]:
        from taskiq.api import run_receiver_task

        name = f"q{uuid4().hex}"
        broker = await make(url, name)

        @broker.task(task_name=name)  # type: ignore[untyped-decorator] # whichever broker it is
        async def handle(data: str) -> None:
            sink.received(data.encode())
            sink.settled(data.encode())

        broker.is_worker_process = True
        await broker.startup()
        async with running(run_receiver_task(broker, max_async_tasks=PREFETCH, max_prefetch=PREFETCH)):
            await asyncio.sleep(settle)  # until it consumes
            yield lambda data: handle.kiq(data.decode())
        await broker.shutdown()

    return way


async def redis(url: str, name: str) -> Any:
    """A stream, and a group that acknowledges each task by itself.

    With a timeout of the socket redis-py sends through `asyncio.wait_for`, which in Python 3.11 swallows a
    cancellation that comes meanwhile; as Taskiq cancels its reader once and then waits for it, that might be for ever.
    """
    from taskiq_redis import RedisStreamBroker

    return RedisStreamBroker(
        url, queue_name=name, xread_count=PREFETCH, max_connection_pool_size=200, socket_timeout=None
    )


async def nats(url: str, name: str) -> Any:
    """JetStream, a durable pull consumer."""
    from taskiq_nats import PullBasedJetStreamBroker

    return PullBasedJetStreamBroker(
        url, subject=name, stream_name=name, durable=name, pull_consume_batch=PREFETCH, pull_consume_timeout=0.2
    )


async def rabbitmq(url: str, name: str) -> Any:
    """A quorum queue."""
    from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

    return AioPikaBroker(
        rabbitmq_url(url),
        qos=PREFETCH,
        exchange=Exchange(name=name),
        task_queues=[Queue(name=name)],
        dead_letter_queue=Queue(name=f"{name}.dead"),
        delay_queue=Queue(name=f"{name}.delay"),
    )


async def kafka(url: str, name: str) -> Any:
    """A topic, by an idempotent producer; what was fetched is committed every five seconds, handled or not.

    Partitioner and assignor are aiokafka's own: the defaults are kafka-python's, whose version 3 calls them otherwise
    than aiokafka does, so that no consumer is given a partition and no message can be sent.
    """
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from aiokafka.partitioner import DefaultPartitioner
    from taskiq_aio_kafka import AioKafkaBroker

    servers = url.removeprefix("kafka://")
    await create_topic(servers, name)
    broker = AioKafkaBroker(servers, kafka_topic=name)
    broker.configure_producer(enable_idempotence=True, acks="all", partitioner=DefaultPartitioner())
    broker.configure_consumer(group_id=name, partition_assignment_strategy=(RoundRobinPartitionAssignor,))
    return broker
