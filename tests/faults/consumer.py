"""A consumer in a process of its own: notes each message's effect in a ledger, and fails as it is told to.

`python -m tests.faults.consumer JOB`, where JOB is the JSON of a `Job`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from aats_core.broker import Broker, Delivery
from aats_core.errors import BrokerUnavailable
from tests.faults.ledger import Ledger
from tests.services.brokers import make_broker


class Moment(StrEnum):
    """When a consumer kills itself."""

    NEVER = "never"
    IDLE = "idle"
    """While it waits for a message."""
    BEFORE = "before handling"
    WITHIN = "within handling"
    AFTER_EFFECT = "after the effect, before the ack"
    ACKING = "while it acknowledges"
    AFTER_ACK = "after the ack"


class Poison(StrEnum):
    """What a message of that payload does to whoever handles it."""

    RAISES = "raises"
    HANGS = "hangs"
    EXITS = "exits"


class Job(msgspec.Struct):
    """What a consumer is to do. `pace` is the seconds that each message takes it, `at` the number it dies at."""

    section: dict[str, Any]
    topic: str
    directory: str
    moment: Moment = Moment.NEVER
    at: int = 0
    pace: float = 0.0
    prefetch: int = 20
    hang: float = 1.0


class Consumer:
    """Handles what comes, several messages at once."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.effects = Ledger(Path(job.directory) / "effects")
        self.deliveries = Ledger(Path(job.directory) / "deliveries")
        self.handled = 0

    async def run(self, broker: Broker) -> None:
        """Consume until somebody ends the process."""
        await broker.connect()
        async with (
            broker.subscribe(self.job.topic, "workers", prefetch=self.job.prefetch) as subscription,
            asyncio.TaskGroup() as group,
        ):
            print("ready", flush=True)
            if self.job.moment is Moment.IDLE:
                die()
            async for delivery in subscription:
                group.create_task(self.handle(delivery))

    async def handle(self, delivery: Delivery) -> None:
        """Note the effect of one message, and acknowledge it."""
        value = delivery.message.read(object)
        self.deliveries.add(f"{value} {delivery.attempt}")
        if isinstance(value, str):
            await self.swallow(Poison(value), delivery)
            return
        self.handled += 1
        dying = self.handled == self.job.at
        self.die_at(Moment.BEFORE, dying=dying)
        await asyncio.sleep(self.job.pace)
        self.die_at(Moment.WITHIN, dying=dying)
        self.effects.once(str(value))
        self.die_at(Moment.AFTER_EFFECT, dying=dying)
        acking = asyncio.create_task(delivery.ack())
        await asyncio.sleep(0)
        self.die_at(Moment.ACKING, dying=dying)
        with contextlib.suppress(BrokerUnavailable):  # in an outage: the message comes again
            await acking
        self.die_at(Moment.AFTER_ACK, dying=dying)

    async def swallow(self, poison: Poison, delivery: Delivery) -> None:
        """Suffer from a message."""
        if poison is Poison.RAISES:
            await delivery.nack(reason="it raised")
        elif poison is Poison.EXITS:
            die()
        else:
            await asyncio.sleep(self.job.hang)
            await delivery.nack(reason="it hung")

    def die_at(self, moment: Moment, *, dying: bool) -> None:
        """Die where that was asked for."""
        if dying and moment is self.job.moment:
            die()


def die() -> None:
    """End this process as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)


async def main(job: Job) -> None:
    """Run a consumer until SIGTERM, and tell how much memory it took."""
    consumer = asyncio.ensure_future(Consumer(job).run(make_broker(job.section)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.cancel)
    try:
        await consumer
    except asyncio.CancelledError:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Job)))
