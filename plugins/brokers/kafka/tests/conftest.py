"""A Kafka for the tests of the broker, its topics small and its groups quick."""

from __future__ import annotations

import asyncio
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aats_broker_kafka import KafkaBroker, KafkaSettings

from tests.services.fixtures import Started, refuse
from tests.services.kafka import KafkaServer
from tests.services.proxy import FaultProxy
from tests.services.service import Service

QUICK: dict[str, Any] = {
    "partitions": 2,
    "replication_factor": 1,
    "session": 10.0,
    "heartbeat": 0.2,
    "timeout": 30.0,
}
"""Settings of a client in tests: it is quick to notice what changes, and slow to give anything up."""

Opening = Callable[..., AbstractAsyncContextManager[KafkaBroker]]


def watch_connections() -> list[TransportSocket]:
    """Return a list of the sockets of all connections that the running event loop makes from now on."""
    created: list[TransportSocket] = []
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def create_connection(*args: Any, **options: Any) -> Any:
        made = await connect(*args, **options)
        created.append(made[0].get_extra_info("socket"))
        return made

    loop.create_connection = create_connection  # type: ignore[method-assign] # this test's loop
    return created


@pytest.fixture
def server(service: Started[Service]) -> KafkaServer:
    """Return the running server."""
    server = service(KafkaServer)
    assert isinstance(server, KafkaServer)
    return server


@pytest.fixture(scope="session")
def proxy(service: Started[Service]) -> Iterator[FaultProxy]:
    """Return the proxy through which clients reach the server."""
    server = service(KafkaServer)
    assert isinstance(server, KafkaServer)
    if server.given:
        refuse("a Kafka that is given tells its clients to pass a proxy by")
    with FaultProxy(server.behind, server.front) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def possible() -> None:
    """Refuse what needs a server of its own where there can be none."""
    if reason := KafkaServer.missing():
        refuse(reason)


@pytest.fixture
def client(server: KafkaServer) -> Opening:
    """Return what opens a client, with settings of its own."""

    @asynccontextmanager
    async def open_client(**chosen: Any) -> Any:
        broker = KafkaBroker(KafkaSettings(**{"servers": [server.url], **QUICK, **chosen}))
        await broker.connect()
        try:
            yield broker
        finally:
            await broker.close()

    return open_client
