"""The calls of record stores on each real server, beside the database's own driver and a mapper.

Client CPU and wall time of each call, one after the other. Names choose some of the stores: `nox -s bench -- stores`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from aats_store_mongodb import MongoStore
from aats_store_neo4j import Neo4jStore
from aats_store_postgres import PostgresStore
from aats_store_redis import RedisStore
from aats_store_sqlite import SqliteStore
from document_peers import with_beanie, with_neo4j, with_pymongo, with_redis
from rounds import show
from store_peers import (
    AS_WRITTEN,
    JSONB_ONLY,
    Calls,
    Row,
    Way,
    aats,
    as_extended_json,
    document,
    populate,
    with_apsw,
    with_asyncpg,
    with_sqlalchemy,
)

from aats_core.tuning import tune_process
from tests.services import MongoServer, Neo4jServer, PostgresServer, RedisServer
from tests.services.neo4j import PASSWORD
from tests.services.service import Service

ROUNDS, ROWS = 7, 10_000


class Bench(NamedTuple):
    """A store: its server, if it has one, and the ways to it: ours, the driver, a mapper if any, and perhaps others.

    `target` is what each of our calls may cost beside the driver.
    """

    server: type[Service] | None
    ways: dict[str, Way]
    target: str


STORES = {
    "sqlite": Bench(
        None,
        {"aats": aats(SqliteStore, lambda _: {}), "apsw": with_apsw, "SQLAlchemy": with_sqlalchemy("sqlite+aiosqlite")},
        "(one thread)",
    ),
    "postgres": Bench(
        PostgresServer,
        {
            "aats": aats(PostgresStore, lambda url: {"dsn": url}),
            "asyncpg": with_asyncpg(AS_WRITTEN),
            "SQLAlchemy": with_sqlalchemy("postgresql+asyncpg"),
            "asyncpg, types kept": with_asyncpg(AS_WRITTEN, as_extended_json),
            "asyncpg, JSONB only": with_asyncpg(JSONB_ONLY),
        },
        "<= 1.2",
    ),
    "mongodb": Bench(
        MongoServer,
        {
            "aats": aats(MongoStore, lambda url: {"url": url}),
            "PyMongo": with_pymongo(atomic=True),
            "Beanie": with_beanie,
            "PyMongo, not atomic": with_pymongo(atomic=False),
        },
        "<= 1.2",
    ),
    "neo4j": Bench(
        Neo4jServer,
        {"aats": aats(Neo4jStore, lambda url: {"uri": url, "password": PASSWORD}), "neo4j": with_neo4j},
        "<= 1.2",
    ),
    "redis": Bench(
        RedisServer,
        {"aats": aats(RedisStore, lambda url: {"servers": [url]}), "redis-py": with_redis},
        "<= 1.2",
    ),
}


class Case(NamedTuple):
    """A call, how often a round makes it, what it is called, and what it is given, which costs nothing."""

    title: str
    times: int
    given: Callable[[list[Row]], Any]
    call: Callable[[Calls, Any], Awaitable[object]]


_more = iter(range(10**9))


def many() -> list[Row]:
    return [document(ROWS * 2 + number) for number in range(ROWS)]


CASES = (
    Case("insert one", 60, lambda _: document(ROWS + next(_more)), lambda calls, row: calls.insert(row)),
    Case("find one by _id", 300, lambda rows: rows[next(_more) % ROWS]["_id"], lambda calls, key: calls.get(key)),
    Case("find 100", 60, lambda rows: rows[next(_more) % ROWS]["group"], lambda calls, group: calls.find(group)),
    Case("aggregate 10,000", 3, lambda _: None, lambda calls, _: calls.aggregate()),
    Case("insert 10,000, no index", 1, lambda _: many(), lambda calls, rows: calls.insert_bulk(rows)),
    Case("insert 10,000, one index", 1, lambda _: many(), lambda calls, rows: calls.insert_many(rows)),
)


async def compare(bench: Bench, url: str, case: Case) -> dict[str, tuple[float, float]]:
    """Return for each way the microseconds of client CPU and of wall time that a call takes, medians of the rounds."""
    found: dict[str, list[tuple[float, float]]] = {title: [] for title in bench.ways}
    async with AsyncExitStack() as stack:
        opened = {}
        for title, way in bench.ways.items():
            calls = await stack.enter_async_context(way(url))
            opened[title] = calls, await populate(calls, ROWS)
        for calls, rows in opened.values():
            await case.call(calls, case.given(rows))
        for _ in range(ROUNDS):
            for title, (calls, rows) in opened.items():
                given = [case.given(rows) for _ in range(case.times)]
                cpu, wall = time.process_time(), time.perf_counter()
                for each in given:
                    await case.call(calls, each)
                taken = time.process_time() - cpu, time.perf_counter() - wall
                found[title].append((taken[0] / case.times * 1e6, taken[1] / case.times * 1e6))
    return {title: tuple(map(statistics.median, zip(*each, strict=True))) for title, each in found.items()}  # type: ignore[misc] # two figures


def main(names: list[str]) -> None:
    """Measure the stores named, or all."""
    tune_process()
    for name in names or STORES:
        bench = STORES[name]
        with tempfile.TemporaryDirectory() as directory:
            server: Any = bench.server and bench.server(Path(directory))
            if server:
                server.start()
            try:
                _measure(name, bench, server.url if server else "")
            finally:
                if server:
                    server.stop()


def _measure(name: str, bench: Bench, url: str) -> None:
    ours, driver, *mapper_and_others = bench.ways
    limits = ("< 1", *["(none)"] * len(mapper_and_others))
    peers = {driver: bench.target, **dict(zip(mapper_and_others, limits, strict=False))}
    for case in CASES:
        figures = asyncio.run(compare(bench, url, case))
        for index, unit in enumerate(("µs of CPU a call", "µs a call")):
            shown = {title: each[index] for title, each in figures.items()}
            show(f"{name}: {case.title}", unit, shown, ours=ours, peers=peers)


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if not name.startswith("-")])
