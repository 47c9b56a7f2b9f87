"""What becomes of messages that were handed out: settled, given back, buried."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Coroutine
from typing import Any

from aats_broker_kafka.committer import Committer
from aats_broker_kafka.driver import BACKOFF
from aats_broker_kafka.letters import Letters
from aats_broker_kafka.partition import Entry, Partition, State
from aats_broker_kafka.queue import Queue
from aats_broker_kafka.settings import KafkaSettings
from aats_broker_kafka.subscription import KafkaDelivery
from aats_core.errors import BrokerError, BrokerUnavailable

log = logging.getLogger(__name__)


class Desk:
    """Settles the messages of one group's own partitions."""

    def __init__(self, settings: KafkaSettings, queue: Queue, committer: Committer, letters: Letters) -> None:
        self._settings = settings
        self._queue = queue
        self._committer = committer
        self._letters = letters
        self.tasks: set[asyncio.Task[None]] = set()

    def ack(self, delivery: KafkaDelivery) -> Awaitable[None]:
        """Forget the message."""
        return self.finish(delivery.mine)

    async def give_back(self, delivery: KafkaDelivery, *, delay: float, reason: str) -> None:
        """Take the message back, or bury it after its last attempt."""
        await self.return_(delivery.mine, delay=delay, reason=reason)

    async def reject(self, delivery: KafkaDelivery, reason: str) -> None:
        """Bury the message."""
        await self.bury(delivery.mine, reason)

    async def extend(self, delivery: KafkaDelivery) -> None:
        """Need nothing: the lease is the delivery's own."""

    def expired(self, delivery: KafkaDelivery, *, taken: bool) -> None:
        """Take back a message whose lease is over."""
        if taken:
            self.take_back(delivery.mine, reason=self._overdue())
        else:
            self.untaken(delivery)

    def untaken(self, delivery: KafkaDelivery) -> None:
        """Take back a message that was not delivered after all."""
        self.take_back_uncounted(delivery.mine)

    def take_back_uncounted(self, entry: Entry) -> None:
        """Take back a message that did not reach its consumer."""
        if entry.part.mine and entry.state == State.HELD:
            entry.delivery, entry.lent = None, ""
            entry.attempts -= 1
            self._queue.release(entry)

    async def return_(self, entry: Entry, *, delay: float, reason: str) -> None:
        """Take a message back; return once the delay is stored, or after its last attempt once it is a dead letter."""
        burial = self.take_back(entry, delay=delay, reason=reason)
        if burial is not None:
            await self._in_time(burial)
        elif delay > 0:
            await self._committer.done(entry.part)

    async def bury(self, entry: Entry, reason: str) -> None:
        """Return once a message is a dead letter."""
        if entry.part.mine:
            await self._in_time(self.begin_burial(entry, reason))

    def begin_burial(self, entry: Entry, reason: str) -> asyncio.Task[None]:
        """Make a dead letter of a message, however long that takes."""
        entry.state, entry.delivery, entry.lent = State.BURYING, None, ""
        return self.spawn(self._bury(entry, reason))

    def stored(self, part: Partition) -> Awaitable[None]:
        """Return what is done once the state of a partition is stored."""
        return self._committer.done(part)

    def finish(self, entry: Entry) -> Awaitable[None]:
        """Forget a message, and return what is done once that is stored."""
        if entry.part.mine:
            entry.delivery = None
            self._queue.settle(entry)
        return self._committer.done(entry.part)

    def take_back(self, entry: Entry, *, delay: float = 0.0, reason: str) -> asyncio.Task[None] | None:
        """Deliver a message again after some seconds; after its last attempt, return its burial instead."""
        if not entry.part.mine or entry.state != State.HELD:
            return None
        entry.delivery, entry.lent = None, ""
        if entry.attempts >= self._settings.max_attempts:
            return self.begin_burial(entry, reason)
        entry.due = 0.0
        if delay > 0:
            entry.part.delay(entry, time.time() + delay)
        self._queue.release(entry)
        return None

    async def _bury(self, entry: Entry, reason: str) -> None:
        """Write a message to the dead letters, then forget it."""
        while entry.part.mine:
            try:
                await self._letters.put(entry.topic, entry.message, entry.key, reason, entry.attempts)
                break
            except BrokerError as error:
                log.warning("%s: a dead letter is not stored yet: %s", entry.topic, error)
                await asyncio.sleep(BACKOFF)
        if entry.part.mine:
            self._queue.settle(entry)
            await self._committer.soon((entry.part,))

    async def _in_time(self, work: asyncio.Task[None]) -> None:
        """Wait for something that goes on by itself, and say so where it takes too long."""
        done, _ = await asyncio.wait({work}, timeout=self._settings.timeout)
        if not done:
            raise BrokerUnavailable("Kafka has not confirmed it yet; it is tried further")

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside, which `tasks` holds until it is done."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("not done: %s", error)

    def keep_lent(self, entry: Entry) -> None:
        """Begin the lease of a message that another client holds."""
        loop = asyncio.get_running_loop()
        entry.state, entry.until = State.HELD, loop.time() + self._settings.lease
        loop.call_later(self._settings.lease, self._lent_too_long, entry, entry.attempts)

    def _lent_too_long(self, entry: Entry, attempts: int) -> None:
        if not entry.lent or entry.attempts != attempts or not entry.part.mine:
            return
        loop = asyncio.get_running_loop()
        if entry.until > loop.time() + 0.001:
            loop.call_at(entry.until, self._lent_too_long, entry, attempts)
        else:
            self.take_back(entry, reason=self._overdue())

    def _overdue(self) -> str:
        return f"not settled within the lease of {self._settings.lease:g} s"
