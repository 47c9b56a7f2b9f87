from __future__ import annotations

from typing import ClassVar

import pytest
from aats_broker_nats import NatsBroker, NatsSettings

from aats_core.testing.brokers import BrokerContract
from tests.services import NatsServer
from tests.services.proxy import Fault, FaultProxy

pytestmark = pytest.mark.timeout(600)
"""Hundreds of calls after each other take minutes on a busy machine; each has a limit of its own."""


@pytest.fixture(scope="module")
def proxy(service):
    with FaultProxy(service(NatsServer).port) as proxy:
        yield proxy


class TestNatsBroker(BrokerContract):
    adds: ClassVar = {
        2: "attempts beyond the first are noted in a stream before the message is handed out",
        3: "a stream of dead letters",
        5: "one owner of each group hands out no message of a key before the one before it is settled",
        6: "the owner hands out the most urgent of the oldest messages that wait",
        7: "the server is asked to give the message back later, and the client keeps it for the last seconds",
        9: "a fresh client of the driver after every loss",
    }

    @pytest.fixture(autouse=True)
    def _reach_the_server(self, service, proxy):
        self.proxy = proxy

    patience = 30.0

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
