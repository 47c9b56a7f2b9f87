"""Durable tasks with Redis as broker, beside Taskiq on the same server: Redis Streams, and results kept in Redis."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from durable_tasks import IN_FLIGHT, throughput
from rounds import measure, show
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from aats_core.tuning import tune_process
from tests.services import RedisServer

TASKS = 3_000


async def taskiq(url: str) -> float:
    """Return Taskiq's tasks a second, its worker in this process as ours is, each result stored before it counts."""
    broker = RedisStreamBroker(url, queue_name=uuid4().hex, consumer_id="0").with_result_backend(
        RedisAsyncResultBackend(url, result_ex_time=60)
    )
    done = asyncio.Semaphore(0)

    @broker.task
    async def nothing(payload: dict[str, int]) -> int:
        return len(payload)

    await broker.startup()
    receiver = asyncio.create_task(run_receiver_task(broker, max_async_tasks=IN_FLIGHT, max_prefetch=IN_FLIGHT))
    store = broker.result_backend.set_result

    async def stored(task_id: str, result: object) -> None:
        await store(task_id, result)  # type: ignore[arg-type] # passed on as it is
        done.release()

    broker.result_backend.set_result = stored  # type: ignore[method-assign] # how else would one know without polling
    flying = asyncio.Semaphore(IN_FLIGHT)

    async def submit() -> None:
        async with flying:
            await nothing.kiq({})

    began = time.perf_counter()
    submitting = asyncio.gather(*(submit() for _ in range(TASKS)))
    async with asyncio.timeout(120):
        for _ in range(TASKS):
            await done.acquire()
    await submitting
    rate = TASKS / (time.perf_counter() - began)
    receiver.cancel()
    await asyncio.wait({receiver}, timeout=5)
    await broker.shutdown()
    return rate


def main() -> None:
    """Measure both on one server that syncs every write, as SQLite does for ours."""
    logging.disable(logging.WARNING)
    tune_process()
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        server.start()
        section = f"[broker]\nplugin = 'redis'\nservers = ['{server.url}']\n"
        try:
            figures = measure(
                {
                    "AATS, Redis and SQLite": lambda: asyncio.run(throughput(section)),
                    "Taskiq, Redis": lambda: asyncio.run(taskiq(server.url)),
                }
            )
        finally:
            server.stop()
    peers = {"Taskiq, Redis": ">= 4"}
    show(f"durable tasks, {IN_FLIGHT} in flight", "tasks/s", figures, ours="AATS, Redis and SQLite", peers=peers)


if __name__ == "__main__":
    main()
