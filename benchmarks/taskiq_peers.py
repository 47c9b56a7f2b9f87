"""Taskiq on NATS and RabbitMQ: a task carries what is published, and is handled by a worker in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from broker_peers import PREFETCH, Publish, Received, Way, rabbitmq_url, running


def taskiq(make: Callable[[str, str], Any]) -> Way:
    """Return the way through a broker of Taskiq, made for an address and a name that nobody else uses."""

    @asynccontextmanager
    async def way(url: str, received: Received) -> AsyncIterator[Publish]:
        from taskiq.api import run_receiver_task

        name = f"q{uuid4().hex}"
        broker = make(url, name)

        @broker.task(task_name=name)  # type: ignore[untyped-decorator] # whichever broker it is
        async def handle(data: str) -> None:
            received(data.encode())

        broker.is_worker_process = True
        await broker.startup()
        async with running(run_receiver_task(broker, max_async_tasks=PREFETCH, max_prefetch=PREFETCH)):
            await asyncio.sleep(0.5)  # until it consumes
            yield lambda data: handle.kiq(data.decode())
        await broker.shutdown()

    return way


def nats(url: str, name: str) -> Any:
    """JetStream, a durable pull consumer."""
    from taskiq_nats import PullBasedJetStreamBroker

    return PullBasedJetStreamBroker(
        url, subject=name, stream_name=name, durable=name, pull_consume_batch=PREFETCH, pull_consume_timeout=0.2
    )


def rabbitmq(url: str, name: str) -> Any:
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
