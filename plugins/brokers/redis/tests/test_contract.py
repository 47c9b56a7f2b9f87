from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

import pytest
from aats_broker_redis import RedisBroker, RedisSettings
from aats_broker_redis.settings import parse_address

from aats_core.testing.brokers import BrokerContract
from tests.services import RedisServer
from tests.services.fixtures import Started
from tests.services.proxy import Fault, FaultProxy


class TestRedisBroker(BrokerContract):
    proxy: ClassVar[FaultProxy]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls, service: Started[RedisServer]) -> Iterator[None]:
        with FaultProxy(parse_address(service(RedisServer).url).port) as cls.proxy:
            yield

    def make_broker(self) -> RedisBroker:
        url = f"redis://127.0.0.1:{self.proxy.port}"
        return RedisBroker(
            RedisSettings(servers=[url], lease=self.lease, max_attempts=self.max_attempts, timeout=self.timeout)
        )

    async def interrupt(self) -> None:
        await asyncio.to_thread(self.proxy.inject, Fault.CUT)

    async def restore(self) -> None:
        await asyncio.to_thread(self.proxy.inject, Fault.NONE)
