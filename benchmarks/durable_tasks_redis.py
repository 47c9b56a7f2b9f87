"""Durable tasks with Redis as broker, beside Taskiq on the same server: Redis Streams, and results kept in Redis."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from durable_servers import compare, rate
from durable_tasks import IN_FLIGHT
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

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
    result = await rate(lambda: nothing.kiq({}), done, TASKS)
    receiver.cancel()
    await asyncio.wait({receiver}, timeout=5)
    await broker.shutdown()
    return result


def main() -> None:
    """Measure both on one server that syncs every write, as SQLite does for ours."""
    section = "[broker]\nplugin = 'redis'\nservers = ['{url}']\n"
    compare(RedisServer, section, "AATS, Redis and SQLite", "Taskiq, Redis", ">= 4", taskiq)


if __name__ == "__main__":
    main()
