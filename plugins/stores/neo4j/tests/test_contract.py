from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aats_store_neo4j import Neo4jStore
from pydantic import SecretStr

from aats_core.clock import VirtualClock
from aats_core.settings import TeamInfo
from aats_core.testing.stores import GraphStoreContract, RecordStoreContract
from tests.services.neo4j import PASSWORD, Neo4jServer


class OnOneServer:
    """Stores over one database, whose times a virtual clock runs."""

    patience = 60.0
    apoc = True

    @pytest.fixture(autouse=True)
    def _server(self, service: Any, tmp_path: Any) -> None:
        self.server = service(Neo4jServer)
        self.clock = VirtualClock()
        self.directory = tmp_path
        self.stores: list[Neo4jStore] = []
        self.sweeping = 0

    def make_store(self) -> Neo4jStore:
        settings = Neo4jStore.Settings(
            uri=self.server.url, password=SecretStr(PASSWORD), expiry_interval=60.0, apoc=self.apoc, timeout=60.0
        )
        store = Neo4jStore(settings, TeamInfo(state_dir=self.directory), self.clock)
        sweep = store._records.sweep

        async def watched() -> None:
            self.sweeping += 1
            try:
                await sweep()
            finally:
                self.sweeping -= 1

        store._records.sweep = watched
        self.stores.append(store)
        return store

    async def advance_time(self, seconds: float) -> None:
        """Let time pass in steps, and after each the stores do what it was time for, to its end."""
        for _ in range(10):
            await self.clock.advance(seconds / 10)
            for store in self.stores:
                await store.health()
            async with asyncio.timeout(self.patience):
                while self.sweeping:
                    await asyncio.sleep(0.001)

    def now(self) -> float:
        return self.clock.time()


class TestRecords(OnOneServer, RecordStoreContract):
    pass


class TestGraph(OnOneServer, GraphStoreContract):
    pass


class TestGraphWithoutApoc(OnOneServer, GraphStoreContract):
    apoc = False
