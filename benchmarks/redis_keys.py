"""Keys of the Redis store beside redis-py, as one would use it by hand, one after the other and a hundred at once."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from aats_store_redis import RedisStore
from redis.asyncio import Redis
from rounds import show

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from aats_core.store import KeyValueStore
from aats_core.tuning import tune_process
from tests.services import RedisServer

ROUNDS, AT_ONCE = 7, 100


class Calls(NamedTuple):
    """One way to the server."""

    get: Callable[[], Awaitable[object]]
    put: Callable[[], Awaitable[object]]
    increment: Callable[[], Awaitable[object]]


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Calls]:
    """The Redis store."""
    store = RedisStore(RedisStore.Settings(servers=[url]), TeamInfo(), RealClock())
    await store.connect()
    values = next(each for each in store.capabilities if isinstance(each, KeyValueStore))
    yield Calls(lambda: values.get("a"), lambda: values.put("a", {"n": 1}, ttl=60.0), lambda: values.increment("n"))
    await store.close()


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Calls]:
    """Commands of redis-py."""
    encode, decode = msgspec.json.encode, msgspec.json.decode
    client = Redis.from_url(url, max_connections=2 * AT_ONCE, protocol=2, socket_timeout=60)

    async def get() -> object:
        return decode(await client.get("a"))

    yield Calls(get, lambda: client.set("a", encode({"n": 1}), px=60_000), lambda: client.incrby("n"))
    await client.aclose()


async def _at_once(call: Callable[[], Awaitable[object]]) -> None:
    await asyncio.gather(*(call() for _ in range(AT_ONCE)))


CASES: dict[str, tuple[int, Callable[[Calls], Awaitable[object]]]] = {
    "get": (200, lambda calls: calls.get()),
    "put": (50, lambda calls: calls.put()),
    "increment": (50, lambda calls: calls.increment()),
    "100 gets at once": (5, lambda calls: _at_once(calls.get)),
    "100 puts at once": (3, lambda calls: _at_once(calls.put)),
}


async def measure(url: str) -> None:
    """Print the figures of every case, medians of interleaved rounds."""
    async with ours(url) as one, by_hand(url) as other:
        ways = {"aats": one, "redis-py": other}
        for calls in ways.values():
            await calls.put()
        for title, (times, call) in CASES.items():
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, calls in ways.items():
                    cpu, wall = time.process_time(), time.perf_counter()
                    for _ in range(times):
                        await call(calls)
                    spent = time.process_time() - cpu, time.perf_counter() - wall
                    taken[name].append((spent[0] / times * 1e6, spent[1] / times * 1e6))
            for index, unit in enumerate(("µs of CPU a call", "µs a call")):
                figures = {name: statistics.median(each[index] for each in found) for name, found in taken.items()}
                show(f"redis: {title}", unit, figures, ours="aats", peers={"redis-py": "<= 1.2"})


def main() -> None:
    """Measure on a server that syncs what it confirms."""
    tune_process()
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        server.start()
        try:
            asyncio.run(measure(server.url))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
