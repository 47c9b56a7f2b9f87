"""What the tests of the Redis store share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aats_store_redis import RedisStore

from aats_core.clock import RealClock
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from tests.services import RedisServer
from tests.services.fixtures import Started

Opened = Callable[..., AbstractAsyncContextManager[RedisStore]]


@pytest.fixture
def server(service: Started[RedisServer]) -> RedisServer:
    """The server that all tests use."""
    return service(RedisServer)


@pytest.fixture
def own_server(server: RedisServer) -> RedisServer:
    """The same one, for tests that kill it or stand between it and its clients."""
    if server.given:
        pytest.skip("the server that AATS_TEST_REDIS_URL names is not ours to kill")
    return server


@pytest.fixture
def start(own_service: Callable[..., RedisServer]) -> Callable[..., RedisServer]:
    """What starts a server with options of its own, which is stopped afterwards."""
    return partial(own_service, RedisServer)


def new_namespace() -> str:
    """Return a namespace that no other test uses."""
    return f"t{new_id()[-12:]}".lower()


@pytest.fixture
def opened() -> Opened:
    """A context with a connected store on a port of this machine, given its settings; all of a test see the same."""
    namespace = new_namespace()

    @asynccontextmanager
    async def open_store(*ports: int, **settings: Any) -> AsyncIterator[RedisStore]:
        servers = [f"redis://127.0.0.1:{port}/0" for port in ports]
        store = RedisStore(
            RedisStore.Settings(**{"servers": servers, "timeout": 5.0, **settings}),
            TeamInfo(namespace=namespace),
            RealClock(),
        )
        await store.connect()
        try:
            yield store
        finally:
            await store.close()

    return open_store
