"""Which files are opened, and what is said of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from aats_store_sqlite.connection import APPLICATION_ID, VERSION

from aats_core.errors import AatsError, StateError, StateTooNew, StoreUnavailable
from aats_core.health import HealthStatus

SPOILT = 5
"""Pages that are spoilt in the middle of a damaged file."""


def write(path: Path, *pragmas: str) -> None:
    connection = apsw.Connection(str(path))
    for pragma in pragmas:
        connection.execute(pragma)
    connection.close()


def foreign_database(path: Path) -> None:
    write(path, "CREATE TABLE accounts (id INTEGER)")


def foreign_version(path: Path) -> None:
    write(path, "PRAGMA user_version = 3")


def plain_text(path: Path) -> None:
    path.write_text("This is a letter, and no database at all.\n" * 100)


def newer_layout(path: Path) -> None:
    write(path, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION + 1}")


def older_layout(path: Path) -> None:
    write(path, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION - 1}")


def directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (newer_layout, StateTooNew, "newer version of AATS"),
        (older_layout, StateError, "older version of AATS"),
        (foreign_database, StoreUnavailable, "another program; name another path"),
        (foreign_version, StoreUnavailable, "another program"),
        (plain_text, StoreUnavailable, "no SQLite database; restore a backup"),
        (directory, StoreUnavailable, "cannot be opened"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason_and_left_as_it_is(
    make: Callable[[Path], None], error: type[AatsError], words: str, make_store: Any, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    store = make_store()

    with pytest.raises(error, match=words) as raised:
        asyncio.run(store.connect())

    assert str(path) in str(raised.value)
    assert type(raised.value) is error
    if before is not None and make is plain_text:
        assert path.read_bytes() == before
    asyncio.run(store.close())


def test_a_foreign_database_keeps_its_tables(make_store: Any, tmp_path: Path) -> None:
    foreign_database(tmp_path / "store.db")

    with pytest.raises(StoreUnavailable):
        asyncio.run(make_store().connect())

    connection = apsw.Connection(str(tmp_path / "store.db"))
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("accounts",)]
    connection.close()


def test_a_missing_directory_is_named(make_store: Any, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="check that its directory exists"):
        asyncio.run(make_store(path=tmp_path / "missing" / "store.db").connect())


def test_a_file_that_another_process_keeps_locked_is_waited_for_and_then_named(make_store: Any, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    other = apsw.Connection(str(path))
    other.execute("BEGIN EXCLUSIVE; CREATE TABLE t (x)")
    try:
        with pytest.raises(StoreUnavailable, match="another process keeps the database locked"):
            asyncio.run(make_store(timeout=0.2).connect())
    finally:
        other.close()


def test_a_write_that_another_process_locks_out_is_refused_and_the_next_one_succeeds(
    open_store: Any, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with open_store(timeout=0.2) as store:
            records = store.capabilities[0]
            await records.insert("a", {"_id": 1})
            other = apsw.Connection(str(tmp_path / "store.db"))
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="another process keeps the database locked"):
                await records.insert("a", {"_id": 2})
            assert await records.count("a") == 1
            other.close()
            await records.insert("a", {"_id": 3})
            assert [found["_id"] for found in await records.find("a")] == [1, 3]

    asyncio.run(scenario())


def test_damage_within_the_file_is_said_by_reads_and_health(open_store: Any, make_store: Any, tmp_path: Path) -> None:
    async def fill() -> None:
        async with open_store() as store:
            await store.capabilities[0].insert("a", *({"_id": n, "text": "x" * 500} for n in range(2000)))

    async def scenario() -> None:
        async with open_store() as store:
            with pytest.raises(StoreUnavailable, match="damaged or no SQLite database; restore a backup"):
                await store.capabilities[0].find("a")
            with pytest.raises(StoreUnavailable, match="damaged"):
                await store.capabilities[0].update("a", {}, {"$set": {"text": "y"}})

    asyncio.run(fill())
    path = tmp_path / "store.db"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096 * SPOILT] = b"\xff" * 4096 * SPOILT
    path.write_bytes(data)

    asyncio.run(scenario())


def test_health_says_that_a_closed_store_is_down(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            assert (await store.health()).status is HealthStatus.OK
        health = await store.health()
        assert health.status is HealthStatus.DOWN
        assert "not connected" in health.detail

    asyncio.run(scenario())


def test_health_says_that_a_transaction_holds_everyone_up(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store(timeout=0.1) as store, store.capabilities[0].transaction():
            health = await store.health()
        assert health.status is HealthStatus.DOWN
        assert "not written within 0.1 seconds" in health.detail

    asyncio.run(scenario())


def test_native_is_a_connection_of_the_callers_own(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            await store.capabilities[0].insert("a", {"_id": 1})
            names = store.native.execute("SELECT name FROM aats_collections").fetchall()
            assert names == [("a",)]

    asyncio.run(scenario())
