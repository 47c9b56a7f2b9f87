from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aats_broker_nats import NatsBroker, NatsSettings

from aats_core.broker import Delivery
from aats_core.message import Message
from tests.services import NatsServer
from tests.services.fixtures import refuse


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Start servers of a test's own, which it may kill, with what is added to their configuration."""
    started: list[NatsServer] = []

    def make(*lines: str, jetstream: bool = True) -> NatsServer:
        if reason := NatsServer.missing():
            refuse(reason)

        class Server(NatsServer):
            def configuration(self) -> str:
                own = super().configuration()
                kept = own if jetstream else own.splitlines()[0]
                return "\n".join([kept, *lines])

            def answers(self) -> bool:
                plain = not lines and jetstream
                return super().answers() if plain else "Server is ready" in self.log.read_text()

        server = Server(tmp_path / f"nats-{len(started)}")
        server.given = ""
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        server.stop()


@asynccontextmanager
async def connected(*servers: NatsServer, **settings: Any) -> AsyncIterator[NatsBroker]:
    """Open a client."""
    urls = settings.pop("servers", [server.url for server in servers])
    broker = NatsBroker(NatsSettings(servers=urls, **({"timeout": 5, "lease": 60} | settings)))
    await broker.connect()
    try:
        yield broker
    finally:
        await broker.close()


async def receive(subscription: Any, seconds: float = 15) -> Delivery:
    """Return the next delivery."""
    async with asyncio.timeout(seconds):
        delivery: Delivery = await anext(subscription)
        return delivery


def number(value: object, **fields: Any) -> Message:
    """Return a small message."""
    return Message("number", value, **fields)
