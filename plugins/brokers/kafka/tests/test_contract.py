"""The contract on a real Kafka, behind a proxy that cuts its connections."""

from __future__ import annotations

from typing import ClassVar

import pytest
from aats_broker_kafka import KafkaBroker, KafkaSettings

from aats_core.testing.brokers import BrokerContract
from aats_core.testing.brokers_outage import OutagePromises
from tests.services.proxy import Fault, FaultProxy

pytestmark = pytest.mark.timeout(300)  # hundreds of calls in a row take a busy machine more than the usual time


class TestKafkaBroker(BrokerContract):
    adds: ClassVar = {
        2: "attempts and what is settled out of order stand in the metadata of the committed offset",
        3: "a compacted topic of dead letters for each topic",
        5: "the owner of a partition hands out no message of a key before the one before it is settled",
        6: "among what is read ahead",
        7: "the owner of a partition keeps what is delayed",
        8: "owners lend messages to clients that have none, through a control topic",
    }
    short_lease = 1.5
    examples = 8
    timeout = 5.0
    patience = 60.0

    @pytest.fixture(autouse=True)
    def _server(self, proxy: FaultProxy, request: pytest.FixtureRequest) -> None:
        if request.node.name not in vars(OutagePromises):
            self.timeout = 30.0  # which nothing waits for while the server is there, however busy
        self.proxy = proxy
        proxy.inject(Fault.NONE)

    def make_broker(self) -> KafkaBroker:
        return KafkaBroker(
            KafkaSettings(
                servers=[f"127.0.0.1:{self.proxy.port}"],
                lease=self.lease,
                max_attempts=self.max_attempts,
                timeout=self.timeout,
                partitions=2,
                replication_factor=1,
                session=6.0,
                heartbeat=0.2,
            )
        )

    async def interrupt(self) -> None:
        self.proxy.inject(Fault.CUT)

    async def restore(self) -> None:
        self.proxy.inject(Fault.NONE)
