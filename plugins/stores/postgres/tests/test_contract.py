from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aats_store_postgres import PostgresStore
from pydantic import SecretStr

from aats_core.clock import VirtualClock
from aats_core.settings import TeamInfo
from aats_core.testing.stores import GraphStoreContract, KeyValueStoreContract, RecordStoreContract
from tests.services import PostgresServer


class OnOneServer:
    """Stores over one database, whose times a virtual clock runs."""

    patience = 10.0

    @pytest.fixture(autouse=True)
    def _server(self, service: Any, tmp_path: Any) -> None:
        self.server = service(PostgresServer)
        self.clock = VirtualClock()
        self.directory = tmp_path
        self.stores: list[PostgresStore] = []

    def make_store(self) -> PostgresStore:
        settings = PostgresStore.Settings(dsn=SecretStr(self.server.url), expiry_interval=60.0, pool=5)
        self.stores.append(PostgresStore(settings, TeamInfo(state_dir=self.directory), self.clock))
        return self.stores[-1]

    async def advance_time(self, seconds: float) -> None:
        """Let time pass in steps, and after each the stores do what it was time for, to its end."""
        for _ in range(10):
            await self.clock.advance(seconds / 10)
            for store in self.stores:
                await store.health()
            async with asyncio.timeout(self.patience):
                while any(store._pool.in_use for store in self.stores):
                    await asyncio.sleep(0.001)

    def now(self) -> float:
        return self.clock.time()


class TestRecords(OnOneServer, RecordStoreContract):
    pass


class TestKeyValues(OnOneServer, KeyValueStoreContract):
    pass


class TestGraph(OnOneServer, GraphStoreContract):
    pass
