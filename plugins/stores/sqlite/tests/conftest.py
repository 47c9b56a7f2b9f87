"""What the tests of the SQLite store share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aats_store_sqlite import SqliteStore
from aats_store_sqlite.settings import SqliteSettings

from aats_core.clock import Clock, RealClock
from aats_core.settings import TeamInfo

Open = Callable[..., AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., SqliteStore]:
    """Makes a store in the test's directory, not connected."""

    def make(*, clock: Clock | None = None, namespace: str = "aats", **settings: Any) -> SqliteStore:
        info = TeamInfo(state_dir=tmp_path, namespace=namespace)
        return SqliteStore(SqliteSettings(**settings), info, clock or RealClock())

    return make


@pytest.fixture
def open_store(make_store: Callable[..., SqliteStore]) -> Open:
    """Opens a store in the test's directory, to be used as a context."""

    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[SqliteStore]:
        store = make_store(**settings)
        await store.connect()
        try:
            yield store
        finally:
            await store.close()

    return opened
