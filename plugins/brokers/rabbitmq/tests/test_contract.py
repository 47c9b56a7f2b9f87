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


class TestRabbitBroker(BrokerContract):
    short_lease = 1.0
    examples = 12
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
