"""A full disk: what is refused, what stays, and that it goes on as soon as there is room."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aats_store_sqlite import SqliteStore

from aats_core.clock import RealClock
from aats_core.errors import StoreError, StoreFull
from aats_core.health import HealthStatus
from aats_core.settings import TeamInfo
from aats_core.store import Put, RecordStore

BIG = "x" * 200_000


async def limit_pages(store: SqliteStore, pages: int) -> None:
    """Let the writer's database grow to so many pages and no further, as a disk would."""
    await store._writer.submit(lambda session: session.connection.execute(f"PRAGMA max_page_count = {pages}"))


def test_a_write_without_room_is_refused_as_a_whole_and_works_again_later(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            await records.insert("a", {"_id": "before"})
            await limit_pages(store, 60)
            with pytest.raises(StoreFull, match="no room left on the disk"):
                await records.insert("a", *({"_id": n, "text": BIG} for n in range(5)))
            assert await records.find("a") == [{"_id": "before"}]
            await records.insert("a", {"_id": "small"})
            await limit_pages(store, 10_000)
            await records.insert("a", *({"_id": n, "text": BIG} for n in range(5)))
            assert await records.count("a") == 7

    asyncio.run(scenario())


def test_of_writes_at_the_same_time_only_those_that_find_no_room_are_refused(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            await records.insert("a", {"_id": "before"})
            await limit_pages(store, 60)
            writes = [records.write([Put("a", {"_id": n, "text": BIG if n == 3 else ""})]) for n in range(6)]
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [type(None)] * 3 + [StoreFull] + [type(None)] * 2
            assert await records.count("a") == 6

    asyncio.run(scenario())


def test_a_transaction_that_found_no_room_is_over_and_holds_nobody_up(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            await records.insert("a", {"_id": "before"})
            await limit_pages(store, 60)

            async def fill() -> None:
                async with asyncio.timeout(20), records.transaction() as transaction:
                    await transaction.insert("a", {"_id": "within"})
                    with pytest.raises(StoreFull):
                        await transaction.insert("a", {"_id": "big", "text": BIG})
                    await transaction.insert("a", {"_id": "later"})

            with pytest.raises(StoreError, match="rolled back"):
                await fill()
            async with asyncio.timeout(20):
                await records.insert("a", {"_id": "after"})
            assert [found["_id"] for found in await records.find("a")] == ["before", "after"]

    asyncio.run(scenario())


async def insert_in_transaction(records: RecordStore) -> None:
    async with records.transaction() as transaction:
        await transaction.insert("a", {"_id": "big", "text": BIG})  # is held in memory, so that the commit fails


async def on_a_small_disk(directory: Path) -> None:
    """What the last test runs in a process of its own, on a file system of one megabyte."""
    store = SqliteStore(SqliteStore.Settings(transaction_timeout=60), TeamInfo(state_dir=directory), RealClock())
    await store.connect()
    records = store.capabilities[0]
    await records.insert("a", {"_id": "before"})
    assert (await store.health()).status is HealthStatus.DEGRADED
    ballast = directory / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(directory).free - 40_000))
    with pytest.raises(StoreFull):
        await records.insert("a", {"_id": "big", "text": BIG})
    with pytest.raises(StoreFull):
        await insert_in_transaction(records)
    assert await records.find("a") == [{"_id": "before"}]
    ballast.unlink()
    async with asyncio.timeout(20):
        await records.insert("a", {"_id": "big", "text": BIG})
    await store.close()
    again = SqliteStore(SqliteStore.Settings(), TeamInfo(state_dir=directory), RealClock())
    await again.connect()
    assert await again.capabilities[0].count("a") == 2
    await again.close()
    for free in (0, 8_000, 30_000):
        await open_without_room(directory, free)


async def open_without_room(directory: Path, free: int) -> None:
    """Open the file, and one that is not there yet, where only so many bytes are left; then where there is room."""
    ballast = directory / "ballast"
    for settings in (SqliteStore.Settings(), SqliteStore.Settings(path=Path(f"fresh{free}.db"))):
        store = SqliteStore(settings, TeamInfo(state_dir=directory), RealClock())
        ballast.write_bytes(b"x" * (shutil.disk_usage(directory).free - free))
        with pytest.raises(StoreFull):
            await store.connect()
        ballast.unlink()
        await store.connect()
        await store.close()


def test_it_gets_over_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*inside, "true"], check=False, capture_output=True).returncode
    ):
        assert "CI" not in os.environ, "this machine lets nobody mount a small file system of his own"
        pytest.skip("this machine lets nobody mount a small file system of his own")
    answer = subprocess.run(
        [*inside, sys.executable, __file__, tmp_path], capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 0, answer.stderr


if __name__ == "__main__":
    asyncio.run(on_a_small_disk(Path(sys.argv[1])))
