"""What the tests of the Redis broker share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aats_broker_redis import RedisBroker, RedisSettings

from aats_core.broker import Delivery, Subscription
from tests.services import RedisServer
from tests.services.fixtures import Started
from tests.services.proxy import FaultProxy

Connected = Callable[..., Any]


@pytest.fixture
def server(service: Started[RedisServer]) -> RedisServer:
    """Return the server that all tests use."""
    return service(RedisServer)


@pytest.fixture
def own_server(own_service: Callable[..., RedisServer]) -> Callable[..., RedisServer]:
    """Return what starts a server with options of its own, which is stopped afterwards."""
    return partial(own_service, RedisServer)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    """Return a proxy before the server that all tests use."""
    with FaultProxy(server.port) as proxy:
        yield proxy


@asynccontextmanager
async def connected(*ports: int, **settings: Any) -> AsyncIterator[RedisBroker]:
    """Connect a broker to servers on this machine, and close it afterwards."""
    servers = [f"redis://127.0.0.1:{port}" for port in ports]
    broker = RedisBroker(RedisSettings(**{"servers": servers, "timeout": 5.0, **settings}))
    await broker.connect()
    try:
        yield broker
    finally:
        await broker.close()


@pytest.fixture
def connect() -> Connected:
    """Return what connects a broker."""
    return connected


@pytest.fixture
def take() -> Callable[..., Any]:
    """Return what takes so many deliveries, without settling them."""

    async def take(subscription: Subscription, count: int = 1) -> list[Delivery]:
        return [await anext(subscription) for _ in range(count)]

    return take
