"""A message published, delivered and acknowledged on each real server: beside its own driver, FastStream, Taskiq.

Client CPU for each message while a hundred callers at once each await their own confirmation, and at 500 messages a
second the latency from publish to handler, and to its acknowledgement where that can be seen. Names choose some of the
brokers: `nox -s bench -- broker_traffic`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from broker_peers import (
    Way,
    aats,
    kafka_calls,
    kafka_each,
    kafka_faststream,
    nats_calls,
    nats_faststream,
    rabbitmq_calls,
    rabbitmq_faststream,
    redis_calls,
    redis_each,
    redis_faststream,
    redis_pipelined,
)
from rounds import measure, show
from taskiq_peers import kafka, nats, rabbitmq, redis, taskiq

from tests.services.brokers import BENCHES

MESSAGES, AT_ONCE, SIZE = 4_000, 100, 200
RATE, SECONDS = 500, 3
ACKNOWLEDGED = "publish to acknowledgement"
FRAMEWORKS = ("FastStream", "Taskiq")
"""They acknowledge where nobody sees it."""

WAYS: dict[str, dict[str, Way]] = {
    "redis": {
        "redis-py, each": redis_each,
        "redis-py, pipelined": redis_pipelined,
        "redis-py": redis_calls,
        "FastStream": redis_faststream,
        "Taskiq": taskiq(redis),
    },
    "nats": {"nats-py": nats_calls, "FastStream": nats_faststream, "Taskiq": taskiq(nats)},
    "rabbitmq": {"aio-pika": rabbitmq_calls, "FastStream": rabbitmq_faststream, "Taskiq": taskiq(rabbitmq)},
    "kafka": {
        "aiokafka, each": kafka_each,
        "aiokafka": kafka_calls,
        "FastStream": kafka_faststream,
        "Taskiq": taskiq(kafka, settle=4),
    },
}
CPU_TARGETS = {
    "redis": {
        "redis-py, each": "(none)",
        "redis-py, pipelined": "≤ 1.92",
        "redis-py": "≤ 0.29",
        "FastStream": "≤ 0.13",
        "Taskiq": "< 1",
    },
    "nats": {"nats-py": "≤ 1.4", "FastStream": "≤ 0.41", "Taskiq": "< 1"},
    "rabbitmq": {"aio-pika": "≤ 1.15", "FastStream": "≤ 0.70", "Taskiq": "< 1"},
    "kafka": {"aiokafka, each": "≤ 1.3", "aiokafka": "≤ 1.3", "FastStream": "< 1", "Taskiq": "< 1"},
}


class Counter:
    """Knows when so many messages are settled."""

    def __init__(self) -> None:
        self.count = 0
        self._wanted = 0
        self._enough = asyncio.Event()

    def received(self, data: bytes) -> None:
        pass

    def settled(self, data: bytes) -> None:
        self.count += 1
        if self.count == self._wanted:
            self._enough.set()

    async def reach(self, count: int) -> None:
        self._wanted = count
        if self.count < count:
            async with asyncio.timeout(60):
                await self._enough.wait()
        self._enough.clear()


async def traffic(way: Way, url: str) -> float:
    """Return the microseconds of CPU that this process needs for each message."""
    counter, data = Counter(), b"x" * SIZE
    async with way(url, counter) as publish:

        async def send(count: int) -> None:
            for _ in range(count):
                await publish(data)

        await asyncio.gather(*(send(2) for _ in range(AT_ONCE)))
        await counter.reach(2 * AT_ONCE)
        gc.collect()  # what other ways have left is not this one's to clean up
        began = time.process_time()
        await asyncio.gather(*(send(MESSAGES // AT_ONCE) for _ in range(AT_ONCE)))
        await counter.reach(2 * AT_ONCE + MESSAGES)
        return (time.process_time() - began) / MESSAGES * 1e6


class Watch:
    """Notes how many milliseconds after they were published messages are received and settled."""

    def __init__(self) -> None:
        self.until = {"publish to handler": list[float](), ACKNOWLEDGED: list[float]()}
        self._received, self._settled = self.until.values()

    def received(self, data: bytes) -> None:
        self._received.append((time.perf_counter() - float(data[1:])) * 1e3)

    def settled(self, data: bytes) -> None:
        self._settled.append((time.perf_counter() - float(data[1:])) * 1e3)


async def latencies(way: Way, url: str) -> dict[str, list[float]]:
    """Return the milliseconds until messages that come at a steady rate are received, and until they are settled."""
    watch = Watch()
    async with way(url, watch) as publish, asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, start + number / RATE - loop.time()))
            group.create_task(_send(publish, f"t{time.perf_counter()}".encode()))
        async with asyncio.timeout(30):
            while any(len(found) < RATE * SECONDS for found in watch.until.values()):
                await asyncio.sleep(0.01)
    return {what: found[RATE // 2 :] for what, found in watch.until.items()}


async def _send(publish: Callable[[bytes], object], data: bytes) -> None:
    await publish(data)  # type: ignore[misc] # every way's publish can be awaited


def main(names: list[str]) -> None:
    """Measure the brokers named, or all."""
    for name in names or WAYS:
        with tempfile.TemporaryDirectory() as directory:
            server = BENCHES[name].server(Path(directory))
            server.start()
            ways = {"aats": aats(name), **WAYS[name]}
            try:
                _measure(name, ways, server.url)
            finally:
                server.stop()


def _measure(name: str, ways: dict[str, Way], url: str) -> None:
    cpu = measure({w: lambda way=way: asyncio.run(traffic(way, url)) for w, way in ways.items()})  # type: ignore[misc] # bound by default
    show(
        f"{name}: published, delivered, acknowledged", "µs of CPU a message", cpu, ours="aats", peers=CPU_TARGETS[name]
    )
    rounds: dict[str, list[dict[str, list[float]]]] = {way: [] for way in ways}
    for _ in range(3):
        for title, way in ways.items():
            rounds[title].append(asyncio.run(latencies(way, url)))
    peers = {title: "< 1" if title in FRAMEWORKS else "≤ 1.3" for title in WAYS[name]}
    for what, percent in itertools.product(Watch().until, (50, 99)):
        figures = {
            title: statistics.median(statistics.quantiles(found[what], n=100)[percent - 1] for found in all_found)
            for title, all_found in rounds.items()
            if what != ACKNOWLEDGED or title not in FRAMEWORKS
        }
        show(f"{name}: {what} at {RATE} messages a second, p{percent}", "ms", figures, ours="aats", peers=peers)


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if not name.startswith("-")])
