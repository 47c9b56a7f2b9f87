from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from aats_broker_rabbitmq import RabbitBroker, RabbitSettings
from pydantic import SecretStr

from aats_core.testing.brokers import BrokerContract
from tests.services import RabbitServer
from tests.services.proxy import Fault, FaultProxy

pytestmark = pytest.mark.timeout(600)
"""Hundreds of calls after each other take minutes on a busy machine; each has a limit of its own."""


class TestRabbitBroker(BrokerContract):
    adds: ClassVar = {
        3: "attempts are counted beside the server's own, and dead letters kept with reason and time in one queue",
        5: "a queue with a single active consumer, which hands out of each key only the oldest unsettled message",
        6: "a quorum queue for each of three bands, and the client's order within what it fetched",
        7: "a ladder of queues whose messages live equally long, and no server plugin",
        9: "it connects again with growing pauses, to whichever address answers",
    }
    patience = 30.0
    timeout = 4.0
    short_lease = 2.0
    examples = 6
    proxy: ClassVar[FaultProxy]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _through_a_proxy(cls, service: Callable[[type[Any]], Any]) -> Iterator[None]:
        server = service(RabbitServer)
        with FaultProxy(server.port) as proxy:
            cls.proxy = proxy
            yield

    def make_broker(self) -> RabbitBroker:
        return RabbitBroker(
            RabbitSettings(
                servers=[f"amqp://127.0.0.1:{self.proxy.port}"],
                user=RabbitServer.user,
                password=SecretStr(RabbitServer.password),
                group_expires=30,
                lease=self.lease,
                max_attempts=self.max_attempts,
                timeout=self.timeout,
            )
        )

    async def interrupt(self) -> None:
        await asyncio.to_thread(self.proxy.inject, Fault.CUT)

    async def restore(self) -> None:
        await asyncio.to_thread(self.proxy.inject, Fault.NONE)
