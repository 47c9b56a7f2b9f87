"""Who hands out a group's messages: one client at a time, so that order, priorities and attempts hold across all."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from contextlib import suppress

from aats_broker_nats.parts import Parts
from aats_broker_nats.pull import Pull
from aats_broker_nats.seats import Seat
from aats_broker_nats.stock import Stock
from aats_broker_nats.window import Entry, State
from aats_broker_nats.wire import Held, readable
from aats_core.errors import BrokerError

log = logging.getLogger(__name__)

GATHER = 1.0
"""Seconds at most before the first message is handed out, until those that wait have come: the most urgent is first."""


class Owner:
    """Pulls the messages of a group and hands each to one of its consumers.

    It acts on nothing once the time `valid_until` of the event loop's clock is over, until that is set anew.
    """

    def __init__(self, group: str, pattern: str, parts: Parts, *, bounded: bool = False) -> None:
        self.group = group
        self.pattern = pattern
        self.parts = parts
        self.stock = Stock(group, pattern, parts, self.dispatch, self.bury)
        self.window = self.stock.window
        self.takeover = self.stock.takeover
        self.seats: dict[str, Seat] = {}
        self.valid_until = math.inf
        self._bounded = bounded
        self._ring: deque[Seat] = deque()
        self._serving = False
        self._gathering: asyncio.TimerHandle | None = None
        ahead = parts.settings.read_ahead
        self.pull = Pull(
            parts.connection,
            parts.names.messages,
            group,
            room=self._room,
            least=1 if bounded else max(1, ahead // 4),
            receive=self.stock.receive,
        )

    async def start(self) -> None:
        """Begin to pull and to hand out."""
        await self.takeover.begin()
        self._serving = True
        self.stock.spawn(self.stock.tend())
        self.stock.spawn(self.takeover.run())
        await self.pull.start()
        self._gathering = asyncio.get_running_loop().call_later(GATHER, self._begin)

    def _begin(self) -> None:
        self.takeover.gathering = 0
        self.dispatch()

    async def resume(self) -> None:
        """Go on after an outage that others did not use to take over."""
        await self.pull.stop()
        await self.stock.catch_up()
        await self.takeover.repair()
        await self.pull.start()
        self.dispatch()

    async def retire(self, *, give_back: bool) -> None:
        """Stop, and let the server deliver what no consumer has to whoever comes next, uncounted."""
        self._serving = False
        if give_back:
            await self.takeover.settle(GATHER / 4)
        await self.pull.stop()
        if self._gathering is not None:
            self._gathering.cancel()
        await self.stock.end(finish=give_back)
        if give_back:
            waiting = [entry for entry in self.window.entries.values() if entry.buffered]
            with suppress(BrokerError):
                await asyncio.gather(*map(self.stock.hand_back, waiting))
                await self.stock.catch_up()
                await self.takeover.repair()

    # Messages go

    def dispatch(self) -> None:
        """Hand out what can be handed out."""
        if not self._serving or self.takeover.gathering or asyncio.get_running_loop().time() >= self.valid_until:
            return
        while (seat := self._next_seat()) is not None and (entry := self.window.pop()) is not None:
            entry.attempt += 1
            entry.state, entry.seat = State.HELD, seat
            seat.held[entry.sequence] = entry
            self.stock.unbuffer(entry)
            if entry.attempt == 1 and entry.deliveries == 1:
                seat.deliver(entry)
            else:
                seat.coming += 1
                self.stock.spawn(self._deliver_noted(entry, seat, entry.attempt))
        self.pull.more()

    def _next_seat(self) -> Seat | None:
        for _ in range(len(self._ring)):
            seat = self._ring[0]
            self._ring.rotate(-1)
            if seat.hungry():
                return seat
        return None

    async def _deliver_noted(self, entry: Entry[Seat], seat: Seat, attempt: int) -> None:
        """Hand out a message once it is written down that it is."""
        noted = False
        try:
            await self.stock.note(entry)
            noted = True
        finally:
            seat.coming -= 1
            if seat.held.get(entry.sequence) is entry and entry.attempt == attempt:
                if noted:
                    seat.deliver(entry)
                else:
                    self.stock.take_back(entry, counted=False)

    # Consumers come and go

    def join(self, seat: Seat, held: list[Held] | None = None) -> None:
        """Take a consumer in; where it holds something already, it says what."""
        known = self.seats.get(seat.consumer)
        if known is not None:
            self._ring.remove(known)
        self.seats[seat.consumer] = seat
        self._ring.append(seat)
        for claim in held or ():
            self._adopt(seat, claim)
        if known is not None:
            for entry in list(known.held.values()):
                if entry.seat is known and entry.state is State.HELD:
                    self.stock.take_back(entry, counted=False)  # it never arrived
        self.dispatch()

    def leave(self, consumer: str, seen: list[int]) -> None:
        """Let a consumer go, and hand what it held to others; only what it has seen counts."""
        seat = self.seats.pop(consumer, None)
        if seat is None:
            return
        self._ring.remove(seat)
        for entry in list(seat.held.values()):
            entry.reason = "its consumer left without settling it"
            self.stock.take_back(entry, counted=entry.sequence in seen)
        self.dispatch()

    def drop(self, seat: Seat) -> None:
        """Give a consumer up that gives no sign of life; what it holds is its own until the lease is over."""
        del self.seats[seat.consumer]
        self._ring.remove(seat)

    def _adopt(self, seat: Seat, claim: Held) -> None:
        entry = self.window.entries.get(claim.sequence)
        if entry is None:
            entry = Entry(claim.sequence, claim.topic, claim.key, claim.reply)
            self.window.admit(entry)
        same = entry.state is State.HELD and entry.seat is not None and entry.seat.consumer == seat.consumer
        unclaimed = not entry.deliveries
        if not (unclaimed or (same and entry.attempt == claim.attempt)):
            seat.lose(claim.sequence)
            return
        if unclaimed:
            entry.deliveries, entry.attempt, entry.reply = 2, claim.attempt, claim.reply
            self.takeover.met(claim.sequence)
            self.stock.last_reply = claim.reply
        entry.state, entry.seat = State.HELD, seat
        seat.held[entry.sequence] = entry

    # Consumers settle

    async def settle(self, consumer: str, sequence: int, attempt: int, how: str, delay: float, reason: str) -> None:
        """Do what a consumer says about a delivery; does nothing where it no longer holds it."""
        seat = self.seats.get(consumer)
        entry = seat.held.get(sequence) if seat is not None else None
        if seat is None or entry is None or entry.attempt != attempt:
            return
        if how == "ack":
            await self._finish(entry)
        elif how == "extend":
            await self.stock.tell(entry, b"+WPI")
        elif how == "reject" or attempt >= self.parts.settings.max_attempts:
            await self.bury(entry, reason or f"given back {attempt} times")
        else:
            self.stock.release(entry)
            await self.stock.send_away(entry, delay)
            self.dispatch()

    async def bury(self, entry: Entry[Seat], reason: str) -> None:
        """Make a dead letter of a message."""
        self.stock.release(entry)
        entry.state = State.GOING
        self.stock.unbuffer(entry)
        self.dispatch()
        try:
            await self._keep(entry, reason)
        except BaseException:
            entry.state, entry.message = State.COMING, None  # the server delivers it again when the lease is over
            raise
        await self._finish(entry)

    async def _keep(self, entry: Entry[Seat], reason: str) -> None:
        message = entry.message
        if message is None:
            found = await self.parts.jetstream.get(self.parts.names.messages, entry.sequence)
            if found is None:
                return
            message = readable(found.data)
        await self.parts.letters.add(
            entry.topic,
            message,
            key=entry.key,
            reason=reason,
            attempts=entry.attempt,
            id=f"{self.group}.{entry.sequence}.{entry.attempt}",
        )

    async def _finish(self, entry: Entry[Seat]) -> None:
        self.stock.release(entry)
        self.window.remove(entry)
        try:
            await self.stock.tell(entry, b"+ACK")
            if entry.note is not None:
                await self.stock.attempts.forget(entry.note)
        finally:
            self.dispatch()

    def _room(self) -> int:
        free = self.parts.settings.read_ahead - self.stock.buffered
        return max(1, free) if self._bounded else free
