from __future__ import annotations

from typing import ClassVar

from aats_broker_memory import MemoryBroker, MemorySettings

from aats_core.clock import VirtualClock
from aats_core.testing.brokers import BrokerContract


class TestMemoryBroker(BrokerContract):
    lacks: ClassVar = {9: "a broker in this process is never away"}
    quiet = 0.01

    def setup_method(self) -> None:
        self.clock = VirtualClock()
        self.first: MemoryBroker | None = None

    def make_broker(self) -> MemoryBroker:
        if self.first is not None:
            return self.first.sibling()
        settings = MemorySettings(lease=self.lease, max_attempts=self.max_attempts, timeout=self.timeout)
        self.first = MemoryBroker(settings, self.clock)
        return self.first

    async def advance_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.time()
