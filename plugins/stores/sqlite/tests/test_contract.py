from __future__ import annotations

import tempfile
from pathlib import Path

from aats_store_sqlite import SqliteStore

from aats_core.clock import VirtualClock
from aats_core.settings import TeamInfo
from aats_core.testing.stores import GraphStoreContract, KeyValueStoreContract, RecordStoreContract


class OnOneFile:
    def setup_method(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.clock = VirtualClock()
        self.stores: list[SqliteStore] = []

    def teardown_method(self) -> None:
        self.directory.cleanup()

    def make_store(self) -> SqliteStore:
        settings = SqliteStore.Settings(expiry_interval=60.0)
        self.stores.append(SqliteStore(settings, TeamInfo(state_dir=Path(self.directory.name)), self.clock))
        return self.stores[-1]

    async def advance_time(self, seconds: float) -> None:
        """Let time pass in steps, and after each the stores' threads do what it was time for."""
        for _ in range(10):
            await self.clock.advance(seconds / 10)
            for store in self.stores:
                await store.health()

    def now(self) -> float:
        return self.clock.time()


class TestRecords(OnOneFile, RecordStoreContract):
    pass


class TestKeyValues(OnOneFile, KeyValueStoreContract):
    pass


class TestGraph(OnOneFile, GraphStoreContract):
    pass
