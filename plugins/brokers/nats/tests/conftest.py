from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aats_broker_nats import NatsBroker, NatsSettings

from aats_core.broker import Delivery
from aats_core.message import Message
from tests.services import NatsServer


class OwnServer(NatsServer):
    """A server with what is added to its configuration."""

    def __init__(self, directory: Path, *lines: str, jetstream: bool = True) -> None:
        super().__init__(directory)
        self.lines, self.jetstream = lines, jetstream

    def configuration(self) -> str:
        own = super().configuration()
        kept = own if self.jetstream else own.splitlines()[0]
        return "\n".join([kept, *self.lines])

    def answers(self) -> bool:
        plain = not self.lines and self.jetstream
        return super().answers() if plain else "Server is ready" in self.log.read_text()


@pytest.fixture
def make_server(own_service: Callable[..., OwnServer]) -> Callable[..., OwnServer]:
    """Start servers of a test's own, which it may kill, with what is added to their configuration."""
    return partial(own_service, OwnServer)


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
