"""Stores under the load of many clients, while their servers are killed or the network fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import pytest
from aats_store_mongodb import MongoStore
from aats_store_neo4j import Neo4jStore
from aats_store_postgres import PostgresStore
from aats_store_redis import RedisStore

from aats_core.clock import RealClock
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from aats_core.store import Store
from aats_core.testing.stores_load import Load, Outcome
from tests.faults.scene import seed
from tests.faults.table import note_store
from tests.services import MongoServer, MongoSet, Neo4jServer, PostgresServer, RedisServer
from tests.services.neo4j import PASSWORD
from tests.services.proxy import Fault, FaultProxy
from tests.services.service import Service

# PyMongo does not close its sockets where it is cancelled while it connects.
pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

CLIENTS = 20
PATIENCE = 60.0
"""Seconds after which a call hangs."""
FLOW_AGAIN = 10.0
"""Seconds within which writes have to be confirmed again after a fault has ended."""


class Bench(NamedTuple):
    """A store plugin, the server it needs, and its settings for the server at a URL."""

    server: type[Service]
    plugin: type[Any]
    settings: Callable[[str], dict[str, Any]]


BENCHES = {
    "mongodb": Bench(MongoServer, MongoStore, lambda url: {"url": url}),
    "neo4j": Bench(Neo4jServer, Neo4jStore, lambda url: {"uri": url, "password": PASSWORD}),
    "postgres": Bench(PostgresServer, PostgresStore, lambda url: {"dsn": url}),
    "redis": Bench(RedisServer, RedisStore, lambda url: {"servers": [url]}),
}


class Scene:
    """A server behind a proxy, and a load through a store."""

    def __init__(self, bench: Bench, server: Any, proxy: FaultProxy | None) -> None:
        self.server = server
        self.proxy = proxy
        self.recovery = 0.0
        self.outcome: Outcome | None = None
        self.random = random.Random(seed())
        url = server.address(proxy.port) if proxy else server.url
        settings = bench.plugin.Settings(timeout=5.0, **bench.settings(url))
        self._store: Store = bench.plugin(settings, TeamInfo(namespace=f"faults{new_id()[:8]}"), RealClock())
        self._load = Load(self._store, f"load_{new_id()}", _within)

    async def play(self, faults: Callable[[], Awaitable[None]]) -> None:
        """Write and read while the faults happen; afterwards nothing is lost, and nothing was done twice."""
        await self._store.connect()
        running = asyncio.create_task(self._load.run(CLIENTS))
        try:
            await self.flow(PATIENCE)
            await faults()
            self._load.stopping = True
            await _within(running)
            self.outcome = await self._load.outcome()
        finally:
            running.cancel()
            await asyncio.wait({running})
            await self._store.close()

    async def flow(self, limit: float = FLOW_AGAIN) -> float:
        """Return the seconds until writes are confirmed again; fails where that takes longer than the limit."""
        began, enough = time.monotonic(), self._load.progress()
        while not await enough():
            assert time.monotonic() < began + limit, f"nothing was confirmed for {limit:g} s"
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def flow_again(self) -> None:
        """Wait until writes are confirmed again, and remember how long that took."""
        self.recovery = max(self.recovery, await self.flow())


@pytest.fixture(params=sorted(BENCHES))
def scene(request: pytest.FixtureRequest, service: Callable[[type[Any]], Any]) -> Iterator[Scene]:
    """Yield a scene on each store, and note what came of it."""
    bench = BENCHES[request.param]
    server = service(bench.server)
    if server.given:
        pytest.skip(f"faults need a {request.param} of their own, not the one of AATS_TEST_{request.param.upper()}_URL")
    with FaultProxy(server.port) as proxy:
        scene = Scene(bench, server, proxy)
        try:
            yield scene
        finally:
            server.start()
    if scene.outcome is not None:
        note_store(request, request.param, scene.outcome, scene.recovery)


def test_the_server_is_killed_under_load(scene: Scene) -> None:
    async def faults() -> None:
        for _ in range(5):
            await asyncio.sleep(scene.random.uniform(0.2, 1.5))
            await asyncio.to_thread(scene.server.kill)
            await asyncio.to_thread(scene.server.start)
            await scene.flow_again()

    asyncio.run(scene.play(faults))


def test_connections_are_reset_two_hundred_times(scene: Scene) -> None:
    async def faults() -> None:
        for _ in range(200):
            await asyncio.sleep(scene.random.uniform(0.0, 0.1))
            scene.proxy.reset()
        await scene.flow_again()

    asyncio.run(scene.play(faults))


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.STALL, Fault.HALF_OPEN])
def test_the_network_fails_for_thirty_seconds(scene: Scene, fault: Fault) -> None:
    async def faults() -> None:
        await asyncio.sleep(scene.random.uniform(0.2, 1.0))
        scene.proxy.inject(fault)
        await asyncio.sleep(30)
        scene.proxy.inject(Fault.NONE)
        await scene.flow_again()

    asyncio.run(scene.play(faults))


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_the_primary_of_three_is_killed_under_load(request, service, driver) -> None:
    servers: MongoSet = service(MongoSet)
    scene = Scene(Bench(MongoSet, MongoStore, lambda url: {"url": url, "driver": driver}), servers, None)

    async def faults() -> None:
        for _ in range(2):
            primary = await asyncio.to_thread(servers.primary)
            assert primary is not None
            await asyncio.to_thread(primary.kill)
            await scene.flow_again()
            await asyncio.to_thread(primary.start)

    asyncio.run(scene.play(faults))
    assert scene.outcome is not None
    note_store(request, "mongodb", scene.outcome, scene.recovery)


async def _within(awaitable: Awaitable[Any]) -> Any:
    """Wait for what has to end; fails where it hangs."""
    return await asyncio.wait_for(awaitable, PATIENCE)
