"""An honest broker with a server that can be away, and the contract suite on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Self

from aats_broker_memory import MemoryBroker, MemorySettings

from aats_core.broker import Delivery, Subscription
from aats_core.clock import VirtualClock
from aats_core.errors import BrokerUnavailable
from aats_core.health import Health, HealthStatus
from aats_core.message import Message
from aats_core.testing.brokers import BrokerContract


class Server:
    """What a network has between a client and its server: it can be cut."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.up.set()
        self.outages = 0
        self.notes: dict[Any, Any] = {}


class RemoteDelivery(Delivery):
    def __init__(self, inner: Delivery, broker: RemoteBroker) -> None:
        self.inner, self.broker = inner, broker
        self.topic, self.message, self.attempt = inner.topic, inner.message, inner.attempt

    async def ack(self) -> None:
        await self.inner.ack()

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        await self.inner.nack(delay=delay, reason=reason)

    async def reject(self, *, reason: str) -> None:
        await self.inner.reject(reason=reason)

    async def extend(self) -> None:
        await self.inner.extend()


class RemoteSubscription(Subscription):
    def __init__(self, inner: Subscription, broker: RemoteBroker) -> None:
        self.inner, self.broker = inner, broker

    async def __aenter__(self) -> Self:
        await self.broker.reach()
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.inner.__aexit__(kind, error, trace)

    async def __anext__(self) -> Delivery:
        await self.broker.server.up.wait()
        return self.broker.Held(await anext(self.inner), self.broker)


class RemoteBroker(MemoryBroker):
    """An honest broker whose server can be away: the careless ones below each spoil one thing of it."""

    server: Server
    failing: ClassVar[tuple[str, ...]] = ()
    chosen: ClassVar[dict[str, float]] = {}
    Held = RemoteDelivery
    Consumer = RemoteSubscription

    async def reach(self) -> None:
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self.server.up.wait()
        except TimeoutError as error:
            raise BrokerUnavailable from error

    async def connect(self) -> None:
        await self.reach()
        await super().connect()

    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        await self.reach()
        await super().publish(topic, message, key=key, not_before=not_before)

    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> Subscription:
        return self.Consumer(super().subscribe(topic, group, prefetch=prefetch, ephemeral=ephemeral), self)

    async def health(self) -> Health:
        return await super().health() if self.server.up.is_set() else Health(HealthStatus.DOWN, "the server is away")


class RemoteContract(BrokerContract):
    """The suite on a `RemoteBroker` or a careless one."""

    broker: type[RemoteBroker] = RemoteBroker
    quiet = 0.01
    timeout = 0.05
    examples = 30

    def setup_method(self) -> None:
        self.clock = VirtualClock()
        self.server = Server()
        self.first: RemoteBroker | None = None

    def make_broker(self) -> RemoteBroker:
        if self.first is None:
            chosen = {"lease": self.lease, "max_attempts": self.max_attempts, "timeout": self.timeout}
            made = self.first = self.broker(MemorySettings(**chosen | self.broker.chosen), self.clock)
        else:
            made = self.first.sibling()
        made.server = self.server
        return made

    async def advance_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.time()

    async def interrupt(self) -> None:
        self.server.up.clear()
        self.server.outages += 1

    async def restore(self) -> None:
        self.server.up.set()


def fails(*tests: str, **settings: float) -> Callable[[type[RemoteBroker]], type[RemoteBroker]]:
    """Say which contract tests have to fail on a careless broker, and what is set on it beforehand."""

    def mark(broker: type[RemoteBroker]) -> type[RemoteBroker]:
        broker.failing = tuple(f"test_{test}" for test in tests)
        broker.chosen = settings
        return broker

    return mark
