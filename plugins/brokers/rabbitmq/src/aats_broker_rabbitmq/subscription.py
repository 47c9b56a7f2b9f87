"""A consumer of one group: what it fetched, what it holds, and how it comes back after an outage."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from aats_broker_rabbitmq.backlog import Backlog
from aats_broker_rabbitmq.census import Count
from aats_broker_rabbitmq.chores import Chores
from aats_broker_rabbitmq.context import Context
from aats_broker_rabbitmq.delivery import RabbitDelivery
from aats_broker_rabbitmq.entry import Entry
from aats_broker_rabbitmq.intake import Intake
from aats_broker_rabbitmq.leases import Leases
from aats_broker_rabbitmq.memory import Memory
from aats_broker_rabbitmq.session import Session
from aats_broker_rabbitmq.source import Source
from aats_broker_rabbitmq.topology import direct_to
from aats_core.broker import Subscription
from aats_core.errors import BrokerError

log = logging.getLogger(__name__)

HERE = 0.25
"""Seconds: what is due within that waits in this client, what is due later on the server."""
PATIENCE = 1.0
"""Seconds that a message waits here for a consumer that does not ask, before others of the group get it."""
EVERY = 64
"""After so many deliveries that did not have to be waited for, others get a turn on the event loop."""
SUSPICION = 5.0
"""Seconds that a message which may have ended its consumers is alone in the hands of one."""
REST = 0.2
"""Seconds before a consumer that the server took away tries to come back."""


class RabbitSubscription(Subscription):
    """Fetches from the queues of its group, and hands out the most urgent of what may be handed out."""

    def __init__(
        self,
        context: Context,
        source: Source,
        *,
        prefetch: int,
        entered: Callable[[RabbitSubscription], None],
        left: Callable[[RabbitSubscription], None],
    ) -> None:
        self.source = source
        self.prefetch = prefetch
        self.backlog = Backlog(self._wake)
        self.leases = Leases(context.settings.lease, self._expire)
        self._context = context
        self._entered = entered
        self._left = left
        self._intakes: list[Intake] = []
        self._memory = Memory()
        self._go = asyncio.Event()
        self._open = self._was_entered = self._was_full = False
        self._turns = self._waiters = 0
        self._paused = self._stopped = self._few = False
        self._alone: Entry | None = None
        self._suspects: list[Entry] = []
        self._pause_lock = asyncio.Lock()
        self._patience: asyncio.TimerHandle | None = None
        self._chores = Chores(source.label, self._abort)

    async def __aenter__(self) -> Self:
        """Make sure that the group exists, and begin to fetch."""
        session = await self._context.link.ready(self._context.settings.timeout)
        self._open = self._was_entered = True
        await self._attach(session)
        self._entered(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what is held."""
        await self.leave()

    async def __anext__(self) -> RabbitDelivery:
        """Hand out the most urgent message; the iteration ends once the subscription has been left."""
        if not self._was_entered:
            raise BrokerError("a subscription has to be entered with `async with` before it delivers anything")
        self._turns += 1
        if self._was_full or not self._turns % EVERY:
            self._was_full = False
            await asyncio.sleep(0)  # what is more urgent may have come meanwhile
        if not (len(self.backlog) and len(self.leases) < self.prefetch and self._open):
            await self._something()
        if not self._open:
            raise StopAsyncIteration
        entry = self.backlog.pop()
        entry.attempts += 1
        entry.holder = delivery = RabbitDelivery(entry, self)
        self.leases.begin(delivery)
        return delivery

    async def _something(self) -> None:
        """Wait until there is something to hand out, and room for it."""
        self._waiters += 1
        try:
            while self._open and not (len(self.backlog) and self._asking):
                if self._asking and self._paused:
                    self._paused = False
                    self._chores.begin(self._pausing(on=False))
                self._go.clear()
                await self._go.wait()
        finally:
            self._waiters -= 1

    @property
    def _asking(self) -> bool:
        return self._waiters > 0 and len(self.leases) < self.prefetch

    # What becomes of a delivery

    def release(self, delivery: RabbitDelivery) -> bool:
        """Take a delivery from whoever held it, and tell whether it was held."""
        if not self.leases.end(delivery):
            return False
        delivery.entry.holder = None
        self._was_full = len(self.leases) + 1 >= self.prefetch
        self._go.set()
        return True

    def done(self, entry: Entry, *, handled: bool = False) -> None:
        """Settle a message, which was `handled` or is now kept elsewhere."""
        if handled:
            self._memory.settled(entry)
        entry.intake.settle(entry)
        self.backlog.finish(entry)
        self._clear(entry)

    async def bury(self, entry: Entry, reason: str) -> None:
        """Make a dead letter of a message."""
        await self._chores.see_to(self._bury(entry, reason))

    async def returned(self, entry: Entry, delay: float, reason: str) -> None:
        """Have a message delivered again after some seconds, or bury it if this was its last attempt."""
        self._clear(entry)
        if not entry.intake.open:
            self._memory.lost(entry)
        elif entry.attempts >= self._context.settings.max_attempts:
            await self.bury(entry, reason)
        elif entry.intake.sole or 0 < delay <= HERE:
            self.backlog.again(entry, delay)
        else:
            await self._chores.see_to(self._post(entry, time.time() + delay if delay > 0 else 0.0))

    async def leave(self) -> None:
        """Give back what is held and end the iteration; leaving twice is harmless."""
        if not self._open:
            return
        self._open = False
        self._go.set()
        if self._patience is not None:
            self._patience.cancel()
        self._left(self)
        held = [delivery.entry for delivery in self.leases.end_all()]
        lives = bool(self._intakes) and self._intakes[0].session.alive
        await self._chores.end(self._context.settings.timeout if lives else 0.0)
        intakes, self._intakes = self._intakes, []
        try:
            if intakes and intakes[0].open:
                await self.source.hand_over(intakes, held)
        except* BrokerError as errors:
            log.warning("%s: left in haste: %s", self.source.label, errors.exceptions[0])
        for intake in intakes:
            await intake.close(self._context.settings.timeout)
        self.backlog.drop(lambda _: True)

    def count(self) -> Count:
        """Tell what this consumer has fetched, and how much of that is held."""
        fetched = sum(len(intake.unsettled) for intake in self._intakes)
        return Count(self.source.topic, self.source.group, fetched, len(self.leases), self.source.own)

    # The connection

    async def resume(self, session: Session) -> None:
        """Come back after an outage; one that was entered meanwhile is there already."""
        if self._open and not any(intake.session is session for intake in self._intakes):
            await self._attach(session)

    def lose(self) -> None:
        """Remember what the server does not know of the messages that went back to it with the connection."""
        intakes, self._intakes = self._intakes, []
        for intake in intakes:
            self._forget(intake)

    async def _attach(self, session: Session) -> None:
        intakes: list[Intake] = []
        self._alone, self._suspects = None, []
        self._paused = self._stopped = self._few = False
        try:
            async for intake in self.source.open(session, self.prefetch, self._arrive, self._end):
                intakes.append(intake)  # noqa: PERF401 - those that were opened have to be closed where a later one fails
        except BaseException:
            for intake in intakes:
                await intake.close(self._context.settings.timeout)
            raise
        self._intakes = intakes
        if self._suspects:
            self._chores.begin(self._isolate())

    def _end(self, intake: Intake) -> None:
        """Replace intakes that ended by themselves while the connection goes on."""
        if self._open and intake.session.alive:
            self._chores.begin(self._replace(intake.session))

    async def _replace(self, session: Session) -> None:
        log.warning("the server ended a consumer of %s; beginning again", self.source.label)
        for intake in self._intakes:
            await intake.close(self._context.settings.timeout)
        self.lose()
        while self._open and session.alive:
            with suppress(BrokerError):
                return await self._attach(session)
            await asyncio.sleep(REST)
        return None

    def _forget(self, intake: Intake) -> None:
        for entry in intake.unsettled.values():
            self._memory.lost(entry)
        intake.open = False
        self.backlog.drop_all_of(intake)

    # What comes in, and what time does

    def _arrive(self, entry: Entry) -> None:
        if self._memory.was_settled(entry):
            return entry.intake.settle(entry)
        known = self._memory.recall(entry)
        if known is not entry:
            return self.backlog.put_held(known)
        return self._put(entry)

    def _put(self, entry: Entry) -> None:
        if not self._open:
            return None  # it goes back with what is unsettled
        fault = entry.fault
        if not fault and entry.attempts >= self._context.settings.max_attempts:
            fault = f"its consumers ended {entry.attempts} times without settling it"
        if fault:
            self._chores.begin(self._bury(entry, fault))
            return None
        if entry.wait() > HERE and not entry.intake.sole:
            self._chores.begin(self._post(entry, entry.due))
            return None
        if self._suspicious(entry):
            entry.suspect = True
            self._suspects.append(entry)
            self._chores.begin(self._isolate())
            return None
        if self._few and self._alone is None:
            self._few = False
            self._chores.begin(self._widen())
        return self.backlog.put(entry)

    def _expire(self, delivery: RabbitDelivery) -> None:
        delivery.entry.holder = None
        lease = self._context.settings.lease
        self._go.set()
        self._chores.begin(self._take_back(delivery.entry, f"not settled within the lease of {lease:g} s"))

    async def _take_back(self, entry: Entry, reason: str) -> None:
        if not self._asking and not entry.intake.sole:
            self._paused = True
            await self._pausing(on=True)  # or the server might choose this consumer again
        await self.returned(entry, 0.0, reason)

    def _lose_patience(self) -> None:
        """Make way if something has waited for long that nobody asks for."""
        self._patience = None
        since = asyncio.get_running_loop().time() - PATIENCE
        if not self.source.shared or not len(self.backlog):
            return
        if not self._asking and not self._paused and any(entry.since <= since for entry in self.backlog):
            self._chores.begin(self._make_way())
        else:
            self._wake()

    async def _make_way(self) -> None:
        """Pause where the group has other consumers, who may want what waits here."""
        shared = self._intakes[0] if self._intakes else None
        if shared is not None and shared.open and await shared.has_company() and not self._asking:
            self._paused = True
            await self._pausing(on=True)
        else:
            self._wake()

    async def _pausing(self, *, on: bool) -> None:
        async with self._pause_lock:
            intakes = self._intakes
            if not intakes or not all(intake.open for intake in intakes[:1]):
                return
            if on:
                self._stopped, self._alone = True, None
                await intakes[0].stop()
                idle = [intake for intake in intakes if intake.sole and not intake.held()]
                waiting = [entry for entry in self.backlog if not entry.intake.sole]
                for intake in idle:
                    intake.muted = True
                self.backlog.drop(lambda entry: entry in waiting or entry.intake in idle)
                await self.source.pause(intakes, waiting, idle)
            elif self._stopped:
                self._stopped = False
                self._intakes = await self.source.resume(intakes, few=self._few)

    # Messages that may be what ended their consumers: on its last attempt each is handed out while nothing else is
    # fetched, so that those beside it are not given up for it.

    def _suspicious(self, entry: Entry) -> bool:
        last = entry.attempts + 1 >= self._context.settings.max_attempts
        return not entry.intake.sole and last and (entry.came_back or entry.suspect)

    async def _isolate(self) -> None:
        async with self._pause_lock:
            if not self._suspects or not self._intakes or not self._intakes[0].open:
                return
            self._stopped = self._few = True
            await self._intakes[0].stop()
            suspects, self._suspects = self._suspects, []
            others = [entry for entry in self.backlog if not entry.intake.sole and entry is not self._alone]
            self.backlog.drop(lambda entry: entry in others)
            chosen = suspects.pop(0) if self._alone is None else None
            self._alone = self._alone or chosen
            await self.source.pause(self._intakes, [*others, *suspects], ())
            if chosen is not None:
                self.backlog.put(chosen)
                asyncio.get_running_loop().call_later(SUSPICION, self._clear, chosen)

    def _clear(self, entry: Entry) -> None:
        if self._alone is entry and self._open:
            self._alone = None
            self._chores.begin(self._pausing(on=False))

    async def _widen(self) -> None:
        async with self._pause_lock:
            if not self._stopped and self._intakes and self._intakes[0].open:
                await self._intakes[0].stop()
                self._intakes = await self.source.resume(self._intakes)

    async def _bury(self, entry: Entry, reason: str) -> None:
        await self._context.bury(entry, reason)
        self.done(entry)

    async def _post(self, entry: Entry, due: float) -> None:
        """Publish a message again for its group, and settle this one."""
        headers, queue = entry.headers(due), self.source.queue_of(entry)
        await self._context.delays.publish(direct_to(queue), entry.body, headers, due)
        self.done(entry, handled=not entry.intake.open)

    def _abort(self) -> None:
        for intake in self._intakes:
            intake.session.abort()

    def _wake(self) -> None:
        self._go.set()
        if self._patience is None and not self._asking:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE, self._lose_patience)
