"""Sweeps for what has expired."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from aats_core.clock import VirtualClock
from aats_core.store import Index, Schema


def test_it_sweeps_at_the_interval_that_was_set_and_no_sooner(open_store: Any) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        async with open_store(clock=clock, expiry_interval=100) as store:
            records = store.capabilities[0]
            await records.ensure("a", Schema(indexes=(Index({"at": 1}, expire_after=10),)))
            await records.insert("a", {"_id": 1, "at": datetime.fromtimestamp(clock.time(), UTC)})
            await clock.advance(99)
            await store.health()
            assert await records.count("a") == 1
            await clock.advance(1)
            await store.health()
            assert await records.count("a") == 0

    asyncio.run(scenario())


def test_a_sweep_that_fails_is_logged_and_the_next_one_comes(
    open_store: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        async with open_store(clock=clock, expiry_interval=100, timeout=0.1) as store:
            keys = store.capabilities[1]
            await keys.put("a", 1, ttl=10)
            other = apsw.Connection(str(tmp_path / "store.db"))
            other.execute("BEGIN IMMEDIATE")
            await clock.advance(100)
            async with asyncio.timeout(20):
                while "could not be deleted" not in caplog.text:
                    await asyncio.sleep(0.01)
            other.close()
            await clock.advance(100)
            await store.health()
            assert store.native.execute("SELECT count(*) FROM aats_keys").get == 0

    asyncio.run(scenario())
