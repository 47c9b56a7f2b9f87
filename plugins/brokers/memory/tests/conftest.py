"""What the tests of the memory broker share."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest
from aats_broker_memory import MemoryBroker, MemorySettings

from aats_core.clock import VirtualClock, settle
from aats_core.message import Message


class CountingClock(VirtualClock):
    """A virtual clock that counts how often somebody falls asleep."""

    sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)


class Bench:
    """A connected broker on a virtual clock."""

    def __init__(self, **settings: Any) -> None:
        self.clock = CountingClock()
        self.broker = MemoryBroker(MemorySettings(**settings), self.clock)

    async def __aenter__(self) -> Self:
        await self.broker.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.close()

    async def publish(self, *values: object, topic: str = "t", **options: Any) -> None:
        for value in values:
            await self.broker.publish(topic, Message("m", value), **options)

    async def group(self, topic: str = "t", name: str = "g") -> None:
        async with self.broker.subscribe(topic, name):
            pass

    async def take(self, topic: str = "t", name: str = "g") -> list[object]:
        """Acknowledge and return all that is ready for a group."""
        found: list[object] = []
        async with self.broker.subscribe(topic, name) as subscription:
            while True:
                waiting = asyncio.ensure_future(anext(subscription))
                await settle(5)
                if not waiting.done():
                    waiting.cancel()
                    return found
                delivery = waiting.result()
                found.append(delivery.message.read(object))
                await delivery.ack()


@pytest.fixture
def open_bench() -> type[Bench]:
    return Bench
