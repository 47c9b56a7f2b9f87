"""What the tests of the PostgreSQL store share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aats_store_postgres import PostgresStore
from pydantic import SecretStr

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from tests.services import PostgresServer

Opened = Callable[..., AbstractAsyncContextManager[PostgresStore]]


@pytest.fixture
def server(service: Any) -> PostgresServer:
    """The running server."""
    return service(PostgresServer)


@pytest.fixture
def own_server(server: PostgresServer) -> PostgresServer:
    """The running server, for tests that kill it or stand between it and its clients."""
    if server.given:
        pytest.skip("the server that AATS_TEST_POSTGRES_URL names is not ours to kill")
    return server


@pytest.fixture
def opened(server: PostgresServer, tmp_path: Path) -> Opened:
    """Return a context with a connected store, given its settings and perhaps another port than the server's."""

    @asynccontextmanager
    async def open_store(port: int = 0, **settings: Any) -> AsyncIterator[PostgresStore]:
        dsn = SecretStr(server.address(port) if port else server.url)
        store = PostgresStore(
            PostgresStore.Settings(dsn=dsn, **{"timeout": 5.0, **settings}), TeamInfo(state_dir=tmp_path), RealClock()
        )
        await store.connect()
        try:
            yield store
        finally:
            await store.close()

    return open_store
