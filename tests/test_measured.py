"""What is asked of a store is passed on as it is, counted by operation, and offered to Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aats_store_sqlite import SqliteStore
from aats_store_sqlite.settings import SqliteSettings
from prometheus_client import CollectorRegistry

from aats_core.clock import RealClock
from aats_core.errors import DuplicateKey
from aats_core.exposition import StoreCollector
from aats_core.measured import measured
from aats_core.metrics import StoreFigures
from aats_core.settings import TeamInfo
from aats_core.store import GraphStore, KeyValueStore, Put, RecordStore


def test_calls_are_passed_on_and_counted(tmp_path: Path) -> None:
    figures = StoreFigures()
    registry = CollectorRegistry()
    registry.register(StoreCollector({"primary": figures}))

    async def scenario() -> None:
        store = SqliteStore(SqliteSettings(), TeamInfo("team", "team", tmp_path, "node"), RealClock())
        await store.connect()
        records, keys, graph = [each for part in store.capabilities for each in measured(part, figures)]
        assert isinstance(records, RecordStore)
        assert isinstance(keys, KeyValueStore)
        assert isinstance(graph, GraphStore)
        await records.insert("c", {"_id": 1}, {"_id": 2})
        with pytest.raises(DuplicateKey):
            await records.insert("c", {"_id": 1})
        await records.write([Put("c", {"_id": 3})])
        async with records.transaction() as inside:
            await inside.insert("c", {"_id": 4})
        assert [each["_id"] async for each in records.stream("c", sort={"_id": 1})] == [1, 2, 3, 4]
        async with keys.lock("l"):
            assert await keys.increment("n", 2) == 2
        await store.close()

    asyncio.run(scenario())

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"store": "primary", **labels})

    assert value("aats_store_seconds_count", operation="insert") == 2
    assert value("aats_store_seconds_count", operation="write") == 1
    assert value("aats_store_seconds_count", operation="increment") == 1
    assert value("aats_store_failed_total", operation="insert", error="DuplicateKey") == 1
