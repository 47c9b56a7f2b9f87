"""A thousand clients at once on PostgreSQL, each reading, writing and waiting a moment: how long its calls take.

The same through SQLAlchemy's asynchronous sessions, with as many connections.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from aats_store_postgres import PostgresStore
from rounds import ROUNDS, show
from store_peers import Calls, Row, Way, aats, document, populate, with_sqlalchemy

from aats_core.tuning import tune_process
from tests.services import PostgresServer

CLIENTS, SECONDS, PAUSE, ROWS = 1_000, 5.0, 2.0, 2_000
WRITES = 0.2
"""The part of the calls that write."""

TARGETS = {50: "< 1", 95: "< 1", 99: "< 1"}


async def load(way: Way, url: str) -> tuple[list[float], int]:
    """Return how many milliseconds each call took, and how many clients gave up because one of theirs failed."""
    taken: list[float] = []
    async with way(url) as calls:
        rows = await populate(calls, ROWS)
        end = time.perf_counter() + SECONDS

        async def client(number: int) -> None:
            chance = random.Random(number)
            await asyncio.sleep(PAUSE * chance.random())
            while (began := time.perf_counter()) < end:
                await _call(calls, rows, chance)
                taken.append((time.perf_counter() - began) * 1e3)
                await asyncio.sleep(PAUSE * (0.5 + chance.random()))

        ends = await asyncio.gather(*map(client, range(CLIENTS)), return_exceptions=True)
    return taken, sum(isinstance(end, Exception) for end in ends)


async def _call(calls: Calls, rows: list[Row], chance: random.Random) -> None:
    if chance.random() < WRITES:
        await calls.insert(document(chance.randrange(10**6)))
    else:
        await calls.get(chance.choice(rows)["_id"])


def main() -> None:
    """Measure both on one server."""
    tune_process()
    ways = {"aats": aats(PostgresStore, lambda url: {"dsn": url}), "SQLAlchemy": with_sqlalchemy("postgresql+asyncpg")}
    found: dict[str, list[tuple[list[float], int]]] = {title: [] for title in ways}
    with tempfile.TemporaryDirectory() as directory:
        server = PostgresServer(Path(directory))
        server.start()
        try:
            for _ in range(ROUNDS):
                for title, way in ways.items():
                    found[title].append(asyncio.run(load(way, server.url)))
        finally:
            server.stop()
    for percent, target in TARGETS.items():
        figures = {
            title: statistics.median(statistics.quantiles(taken, n=100)[percent - 1] for taken, _ in each)
            for title, each in found.items()
        }
        show(f"{CLIENTS} clients, p{percent}", "ms", figures, ours="aats", peers={"SQLAlchemy": target})
    for title, each in found.items():
        print(f"  {title}: {sum(len(taken) for taken, _ in each)} calls, {sum(count for _, count in each)} errors")


if __name__ == "__main__":
    main()
