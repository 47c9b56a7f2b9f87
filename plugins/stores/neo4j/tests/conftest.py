"""What the tests of the Neo4j store share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aats_store_neo4j import Neo4jStore
from pydantic import SecretStr

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from aats_core.store import Put, Relation
from tests.services.neo4j import PASSWORD, Neo4jServer

PATIENCE = 60.0
"""Seconds that a server gets which has just started, on a machine that has much else to do."""

Opened = Callable[..., AbstractAsyncContextManager[Neo4jStore]]


@pytest.fixture
def server(service: Any) -> Neo4jServer:
    """The running server."""
    return service(Neo4jServer)


@pytest.fixture
def own_server(server: Neo4jServer) -> Neo4jServer:
    """The running server, for tests that kill it or stand between it and its clients."""
    if server.given:
        pytest.skip("the server that AATS_TEST_NEO4J_URL names is not ours to kill")
    return server


@pytest.fixture
def opened(server: Neo4jServer, tmp_path: Path) -> Opened:
    """Return a context with a connected store, given its settings and perhaps another port than the server's."""

    @asynccontextmanager
    async def open_store(port: int = 0, **settings: Any) -> AsyncIterator[Neo4jStore]:
        uri = server.address(port) if port else server.url
        given = {"uri": uri, "password": SecretStr(PASSWORD), "timeout": 30.0, **settings}
        store = Neo4jStore(Neo4jStore.Settings(**given), TeamInfo(state_dir=tmp_path), RealClock())
        if given["timeout"] < PATIENCE:
            await warm_up(server)
        await store.connect()
        try:
            yield store
        finally:
            await store.close()

    return open_store


async def warm_up(server: Neo4jServer) -> None:
    """Have the server do a little of everything, so that afterwards it is quick enough for short timeouts."""
    settings = Neo4jStore.Settings(uri=server.url, password=SecretStr(PASSWORD), timeout=PATIENCE)
    store = Neo4jStore(settings, TeamInfo(), RealClock())
    async with asyncio.timeout(2 * PATIENCE):
        await store.connect()
        try:
            records: Any
            graph: Any
            records, graph = store.capabilities
            await records.write([Put("warm_up", {"_id": 1})])
            await records.update("warm_up", {"_id": 1}, {"$inc": {"n": 1}})
            await records.find("warm_up")
            await graph.relate("warm_up", Relation("a", "to", "b"))
            await store.health()
        finally:
            await store.close()
