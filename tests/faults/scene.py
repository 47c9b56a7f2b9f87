"""A server behind a proxy, consumers in processes of their own, and a publisher that knows what was confirmed."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from aats_core.broker import Broker
from aats_core.errors import BrokerUnavailable
from aats_core.message import Message, new_id
from tests.faults.consumer import Job
from tests.faults.ledger import Ledger
from tests.services.brokers import Bench, make_broker
from tests.services.proxy import FaultProxy
from tests.services.service import Service

ROOT = Path(__file__).parents[2]
AT_ONCE = 50


class Scene:
    """One test's part of a server: a topic of its own, and the ledgers of what came of it."""

    def __init__(self, bench: Bench, server: Service, proxy: FaultProxy, directory: Path) -> None:
        self.bench = bench
        self.server = server
        self.proxy = proxy
        settings = {"timeout": 5.0, "lease": 2.0, "max_attempts": 4}
        self.section = {**bench.section(server.address(proxy.port)), **settings}
        self.job = Job(self.section, f"faults.{new_id()}", str(directory))
        self.effects = Ledger(directory / "effects")
        self.deliveries = Ledger(directory / "deliveries")
        self.confirmed: set[int] = set()
        self.refused = 0
        self.recovery = 0.0
        self.random = random.Random(seed())
        self._consumers: list[subprocess.Popen[str]] = []

    # Consumers

    def consume(self, **changes: Any) -> subprocess.Popen[str]:
        """Start a consumer and return once it consumes, or has died of that."""
        job = replace(self.job, **changes)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.consumer", msgspec.json.encode(job).decode()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._consumers.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def end(self) -> list[int]:
        """Stop the consumers and return how many MiB each of them took that lived."""
        taken = []
        for process in self._consumers:
            process.terminate()
        for process in self._consumers:
            try:
                out, _ = process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
            taken += [int(line) for line in out.split() if line.isdigit()]
        self._consumers.clear()
        return taken

    # Publishing

    def broker(self, **changes: Any) -> Broker:
        """Return an unconnected client."""
        return make_broker({**self.section, **changes})

    async def publish(self, broker: Broker, values: Iterable[int], *, twice: float = 0.0) -> None:
        """Publish numbers, many at once, and remember which were confirmed; some of them `twice`."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(value: int) -> None:
            message = Message("number", value)
            async with limit:
                for _ in range(1 + (self.random.random() < twice)):
                    await self._publish(broker, message)

        async with asyncio.TaskGroup() as group:
            for value in values:
                group.create_task(one(value))

    async def _publish(self, broker: Broker, message: Message) -> None:
        try:
            await broker.publish(self.job.topic, message)
        except BrokerUnavailable:
            self.refused += 1
        else:
            self.confirmed.add(message.read(int))

    # What came of it

    def missing(self) -> set[int]:
        """Return what was confirmed and has had no effect."""
        return self.confirmed - self._had_effect()

    def handled(self) -> set[int]:
        """Return what was confirmed and has had its effect."""
        return self.confirmed & self._had_effect()

    def _had_effect(self) -> set[int]:
        return {int(line) for line in self.effects.lines()}

    def repeated(self) -> int:
        """Return how many effects happened more than once."""
        return sum(count > 1 for count in Counter(self.effects.lines()).values())

    def redelivered(self) -> int:
        """Return how many deliveries there were beyond the first of each message."""
        lines = self.deliveries.lines()
        return len(lines) - len({line.split()[0] for line in lines})

    async def settle(self, seconds: float = 60.0) -> None:
        """Wait until everything that was confirmed has had its effect."""
        await self.until(lambda: not self.missing(), seconds, lambda: f"{len(self.missing())} messages are lost")

    async def until(self, condition: Callable[[], object], seconds: float, complaint: Callable[[], str]) -> float:
        """Wait for something and return how long that took; fails with the complaint where it does not happen."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() < began + seconds, f"{complaint()} after {seconds:g} s"
            await asyncio.sleep(0.05)
        return time.monotonic() - began


def seed() -> int:
    """Return the seed of this run, which `AATS_TEST_SEED` sets; it is printed where a test fails."""
    chosen = int(os.environ.get("AATS_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    print(f"seed: AATS_TEST_SEED={chosen}")
    return chosen
