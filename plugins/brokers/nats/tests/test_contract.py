from __future__ import annotations

import pytest
from aats_broker_nats import NatsBroker, NatsSettings

from aats_core.testing.brokers import BrokerContract
from tests.services import NatsServer
from tests.services.proxy import Fault, FaultProxy


@pytest.fixture(scope="module")
def proxy(service):
    with FaultProxy(service(NatsServer).port) as proxy:
        yield proxy


class TestNatsBroker(BrokerContract):
    @pytest.fixture(autouse=True)
    def _reach_the_server(self, service, proxy):
        self.proxy = proxy

    def make_broker(self) -> NatsBroker:
        settings = NatsSettings(
            servers=[f"nats://127.0.0.1:{self.proxy.port}"],
            lease=self.lease,
            max_attempts=self.max_attempts,
            timeout=self.timeout,
        )
        return NatsBroker(settings)

    async def interrupt(self) -> None:
        self.proxy.inject(Fault.CUT)

    async def restore(self) -> None:
        self.proxy.inject(Fault.NONE)
