"""The calls of the Redis store beside redis-py, as one would use it by hand: client CPU and wall time of each.

Records by hand are a hash of documents and a set for each value of the field by which they are found. What is asked for
at once is asked for by a hundred tasks.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import msgspec
from aats_store_redis import RedisStore
from redis.asyncio import Redis
from rounds import show

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from aats_core.store import Index, KeyValueStore, RecordStore, Schema
from aats_core.tuning import tune_process
from tests.services import RedisServer

ROUNDS, ROWS, AT_ONCE = 7, 10_000, 100

Row = dict[str, object]


class Calls(NamedTuple):
    """One way to the server."""

    insert: Callable[[Row], Awaitable[object]]
    insert_many: Callable[[list[Row]], Awaitable[object]]
    by_id: Callable[[str], Awaitable[object]]
    by_group: Callable[[str], Awaitable[object]]
    aggregate: Callable[[], Awaitable[object]]
    get: Callable[[], Awaitable[object]]
    put: Callable[[], Awaitable[object]]
    increment: Callable[[], Awaitable[object]]


def row(number: int) -> Row:
    """Return a document of some 200 bytes; a hundred belong to one group."""
    return {
        "_id": f"id {number}",
        "group": f"g{number // 100}",
        "kind": f"kind {number % 10}",
        "value": number,
        "name": f"a thing with the number {number}",
        "place": {"city": "Basel", "street": "Rheingasse", "number": number % 80},
    }


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Calls]:
    """The Redis store."""
    store = RedisStore(RedisStore.Settings(servers=[url]), TeamInfo(), RealClock())
    await store.connect()
    records = next(each for each in store.capabilities if isinstance(each, RecordStore))
    values = next(each for each in store.capabilities if isinstance(each, KeyValueStore))
    await records.ensure("rows", Schema(indexes=(Index({"group": 1}),)))
    yield Calls(
        lambda document: records.insert("rows", document),
        lambda documents: records.insert(f"rows{uuid4().hex}", *documents),
        lambda key: records.find("rows", {"_id": key}),
        lambda group: records.find("rows", {"group": group}),
        lambda: records.aggregate("rows", [{"$group": {"_id": "$kind", "v": {"$sum": "$value"}}}]),
        lambda: values.get("a"),
        lambda: values.put("a", {"n": 1}, ttl=60.0),
        lambda: values.increment("n"),
    )
    await store.close()


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Calls]:
    """Commands of redis-py."""
    encode, decode = msgspec.json.encode, msgspec.json.decode
    client = Redis.from_url(url, max_connections=2 * AT_ONCE, protocol=2, socket_timeout=60)

    async def insert(document: Row) -> None:
        async with client.pipeline(transaction=True) as pipe:
            pipe.hsetnx("by hand", str(document["_id"]), encode(document))
            pipe.sadd(f"by hand {document['group']}", str(document["_id"]))
            await pipe.execute()

    async def insert_many(documents: list[Row]) -> None:
        name = uuid4().hex
        async with client.pipeline(transaction=True) as pipe:
            for document in documents:
                pipe.hsetnx(name, str(document["_id"]), encode(document))
            await pipe.execute()

    async def by_id(key: str) -> object:
        return decode(await client.hget("by hand", key))

    async def by_group(group: str) -> object:
        return [decode(each) for each in await client.hmget("by hand", list(await client.smembers(f"by hand {group}")))]

    async def aggregate() -> object:
        sums: dict[str, int] = {}
        for document in map(decode, await client.hvals("by hand")):
            sums[document["kind"]] = sums.get(document["kind"], 0) + document["value"]
        return sums

    async def get() -> object:
        return decode(await client.get("a"))

    yield Calls(
        insert, insert_many, by_id, by_group, aggregate, get,
        lambda: client.set("a", encode({"n": 1}), px=60_000), lambda: client.incrby("n"),
    )  # fmt: skip
    await client.aclose()


_more = iter(range(ROWS, 10**9))


async def _at_once(call: Callable[[], Awaitable[object]]) -> None:
    await asyncio.gather(*(call() for _ in range(AT_ONCE)))


CASES: dict[str, tuple[int, Callable[[Calls], Awaitable[object]]]] = {
    "insert one": (50, lambda calls: calls.insert(row(next(_more)))),
    "insert 10,000": (1, lambda calls: calls.insert_many([row(n) for n in range(ROWS)])),
    "find one by _id": (200, lambda calls: calls.by_id(f"id {next(_more) % ROWS}")),
    "find 100": (20, lambda calls: calls.by_group(f"g{next(_more) % (ROWS // 100)}")),
    "aggregate 10,000": (1, lambda calls: calls.aggregate()),
    "get": (200, lambda calls: calls.get()),
    "put": (50, lambda calls: calls.put()),
    "increment": (50, lambda calls: calls.increment()),
    "100 gets at once": (5, lambda calls: _at_once(calls.get)),
    "100 inserts at once": (3, lambda calls: _at_once(lambda: calls.insert(row(next(_more))))),
}
TARGETS = {"aggregate 10,000": "(a language, not a loop)"}


async def measure(url: str) -> None:
    """Print the figures of every case, medians of interleaved rounds."""
    async with ours(url) as one, by_hand(url) as other:
        ways = {"aats": one, "redis-py": other}
        for calls in ways.values():
            for start in range(0, ROWS, AT_ONCE):
                await asyncio.gather(*(calls.insert(row(n)) for n in range(start, start + AT_ONCE)))
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
                show(f"redis: {title}", unit, figures, ours="aats", peers={"redis-py": TARGETS.get(title, "<= 1.2")})


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
