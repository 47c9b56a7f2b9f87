from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar

import pytest
from aats_broker_redis import RedisBroker, RedisSettings
from aats_broker_redis.settings import parse_address

from aats_core.testing.brokers import BrokerContract
from tests.services import RedisCluster, RedisServer
from tests.services.fixtures import Started
from tests.services.proxy import Fault, FaultProxy

pytestmark = pytest.mark.timeout(600)
"""Hundreds of calls after each other take minutes on a busy machine; each has a limit of its own."""


class ProxiedContract(BrokerContract):
    """The contract of a broker whose connections all go through proxies."""

    adds: ClassVar = {
        3: "a stream of dead letters for each topic",
        4: "a script copies a message to the streams of every group in one step",
        5: "a message waits in a list until the one before it of its key is settled",
        6: "a stream for each priority of a group",
        7: "a sorted set, by the server's clock",
        9: "all addresses are tried, and replicas and nodes of a cluster point on to the right one",
    }
    patience = 30.0
    proxies: ClassVar[list[FaultProxy]]

    def make_broker(self) -> RedisBroker:
        servers = [f"redis://127.0.0.1:{proxy.port}" for proxy in self.proxies]
        return RedisBroker(
            RedisSettings(servers=servers, lease=self.lease, max_attempts=self.max_attempts, timeout=self.timeout)
        )

    async def interrupt(self) -> None:
        for proxy in self.proxies:
            await asyncio.to_thread(proxy.inject, Fault.CUT)

    async def restore(self) -> None:
        for proxy in self.proxies:
            await asyncio.to_thread(proxy.inject, Fault.NONE)


class TestRedisBroker(ProxiedContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls, service: Started[RedisServer]) -> Iterator[None]:
        with FaultProxy(parse_address(service(RedisServer).url).port) as proxy:
            cls.proxies = [proxy]
            yield


class TestRedisBrokerOnACluster(ProxiedContract):
    examples = 20

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls, service: Started[RedisCluster]) -> Iterator[None]:
        cluster = service(RedisCluster)
        with ExitStack() as stack:
            cls.proxies = [stack.enter_context(FaultProxy(node.port)) for node in cluster.nodes]
            for node, proxy in zip(cluster.nodes, cls.proxies, strict=True):
                node.ask(f"CONFIG SET cluster-announce-port {proxy.port}")  # so that nodes point on to the proxies
            yield
            for node in cluster.nodes:
                node.ask("CONFIG SET cluster-announce-port 0")
