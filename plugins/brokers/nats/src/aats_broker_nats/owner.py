"""Who hands out a group's messages: one client at a time, so that order, priorities and attempts hold across all."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg

from aats_broker_nats.attempts import Attempts
from aats_broker_nats.parts import Parts
from aats_broker_nats.pull import Pull
from aats_broker_nats.seats import Seat
from aats_broker_nats.takeover import Takeover
from aats_broker_nats.window import Entry, State, Window
from aats_broker_nats.wire import NOT_BEFORE, Held, key_of
from aats_core.errors import BrokerError, InvalidPayload
from aats_core.message import decode

log = logging.getLogger(__name__)

NEAR = 5.0
"""A message whose time is no further away than these seconds waits in memory, any other on the server."""
GATHER = 1.0
"""Seconds at most before the first message is handed out, until those that wait have come: the most urgent is first."""

UNKNOWN = -1
"""The attempts of a message while they are looked up."""


class Owner:
    """Pulls the messages of a group and hands each to one of its consumers.

    It acts on nothing once the time `valid_until` of the event loop's clock is over, until that is set anew.
    """

    def __init__(self, group: str, pattern: str, parts: Parts, *, bounded: bool = False) -> None:
        self.group = group
        self.pattern = pattern
        self.parts = parts
        self.window: Window[Seat] = Window()
        self.seats: dict[str, Seat] = {}
        self.valid_until = math.inf
        self.attempts = Attempts(group, parts)
        self.takeover = Takeover(group, pattern, parts, self.window)
        self._bounded = bounded
        self._ring: deque[Seat] = deque()
        self._buffered = 0
        self._serving = False
        self._last_reply = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_words: set[asyncio.Task[None]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        ahead = parts.settings.read_ahead
        self.pull = Pull(
            parts.connection,
            parts.names.messages,
            group,
            room=self._room,
            least=1 if bounded else max(1, ahead // 4),
            receive=self.receive,
        )

    async def start(self) -> None:
        """Begin to pull and to hand out."""
        await self.takeover.begin()
        self._serving = True
        self.spawn(self._tend())
        self.spawn(self.takeover.run())
        await self.pull.start()
        self._timers[0] = asyncio.get_running_loop().call_later(GATHER, self._begin)

    def _begin(self) -> None:
        self.takeover.gathering = 0
        self.dispatch()

    async def resume(self) -> None:
        """Go on after an outage that others did not use to take over."""
        await self.pull.stop()
        await self._catch_up()
        await self.takeover.repair()
        await self.pull.start()
        self.dispatch()

    async def retire(self, *, give_back: bool) -> None:
        """Stop, and let the server deliver what no consumer has to whoever comes next, uncounted."""
        self._serving = False
        if give_back:
            await self.takeover.settle(GATHER / 4)
        await self.pull.stop()
        if give_back:
            await asyncio.gather(*self._last_words)
        for task in (background := self._tasks | self._last_words):
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()
        if give_back:
            waiting = [entry for entry in self.window.entries.values() if entry.buffered]
            with suppress(BrokerError):
                await asyncio.gather(*map(self._hand_back, waiting))
                await self._catch_up()
                await self.takeover.repair()

    def spawn(self, work: Coroutine[Any, Any, None], *, last_word: bool = False) -> None:
        """Run something in the background until the owner retires, which awaits a last word; a failure is logged."""
        tasks = self._last_words if last_word else self._tasks
        task = asyncio.get_running_loop().create_task(self._contain(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    # Messages come

    def receive(self, message: Msg) -> None:
        """Take a message from the server."""
        fields = message.reply.split(".")
        deliveries, sequence = map(int, fields[4:6] if len(fields) == 9 else fields[6:8])
        self._last_reply = message.reply
        entry = self.window.entries.get(sequence)
        if entry is None:
            topic = self.parts.names.topic(message.subject)
            entry = Entry(sequence, topic, key_of(message.headers), message.reply)
            self.window.admit(entry)
        known, entry.deliveries, entry.reply = entry.deliveries, deliveries, message.reply
        self.takeover.came()
        if not known:
            self.takeover.met(sequence)
        if entry.state is State.HELD:
            self._expire(entry)
        if entry.message is None and entry.state is State.COMING and self._read(entry, message):
            if known or deliveries == 1:
                self._arrive(entry)
            else:
                entry.attempt = UNKNOWN
                self.spawn(self._recall(entry))
        self.dispatch()

    def _read(self, entry: Entry[Seat], message: Msg) -> bool:
        try:
            entry.message = decode(message.data)
        except InvalidPayload as error:
            log.error("%s: what is no message is dropped: %s", entry.topic, error)
            self.window.remove(entry)
            self.spawn(self._tell(entry, b"+TERM"))
            return False
        entry.priority = entry.message.priority
        if message.headers and NOT_BEFORE in message.headers:
            entry.not_before = float(message.headers[NOT_BEFORE])
        self._buffer(entry)
        return True

    async def _recall(self, entry: Entry[Seat]) -> None:
        """Find out how often a message was handed out that the server has delivered before."""
        while True:
            try:
                entry.note = await self.attempts.recall(entry.sequence)
                break
            except BrokerError:
                await self.parts.connection.up.wait()
        entry.attempt = entry.note.attempts if entry.note else 1
        self._arrive(entry)
        self.dispatch()

    def _arrive(self, entry: Entry[Seat]) -> None:
        """Let a message wait for its turn, for its time, or be a dead letter."""
        if entry.attempt >= self.parts.settings.max_attempts:
            why = entry.reason or f"its consumer died or left without settling it, {entry.attempt} times"
            self.spawn(self.bury(entry, why), last_word=True)
            return
        wait = entry.not_before - time.time() if entry.not_before else 0.0
        if wait <= 0:
            self.window.offer(entry)
        elif wait <= NEAR:
            loop = asyncio.get_running_loop()
            self._timers[entry.sequence] = loop.call_later(wait, self._come_due, entry)
        else:
            self.spawn(self._postpone(entry, wait))

    def _come_due(self, entry: Entry[Seat]) -> None:
        del self._timers[entry.sequence]
        self._arrive(entry)
        self.dispatch()

    async def _postpone(self, entry: Entry[Seat], wait: float) -> None:
        await self._note(entry)
        await self._send_away(entry, wait)

    # Messages go

    def dispatch(self) -> None:
        """Hand out what can be handed out."""
        if not self._serving or self.takeover.gathering or asyncio.get_running_loop().time() >= self.valid_until:
            return
        while (seat := self._next_seat()) is not None and (entry := self.window.pop()) is not None:
            entry.attempt += 1
            entry.state, entry.seat = State.HELD, seat
            seat.held[entry.sequence] = entry
            self._unbuffer(entry)
            if entry.attempt == 1 and entry.deliveries == 1:
                seat.deliver(entry)
            else:
                seat.coming += 1
                self.spawn(self._deliver_noted(entry, seat, entry.attempt))
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
            await self._note(entry)
            noted = True
        finally:
            seat.coming -= 1
            if seat.held.get(entry.sequence) is entry and entry.attempt == attempt:
                if noted:
                    seat.deliver(entry)
                else:
                    self._take_back(entry, counted=False)

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
                    self._take_back(entry, counted=False)  # it never arrived
        self.dispatch()

    def leave(self, consumer: str, seen: list[int]) -> None:
        """Let a consumer go, and hand what it held to others; only what it has seen counts."""
        seat = self.seats.pop(consumer, None)
        if seat is None:
            return
        self._ring.remove(seat)
        for entry in list(seat.held.values()):
            entry.reason = "its consumer left without settling it"
            self._take_back(entry, counted=entry.sequence in seen)
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
            self._last_reply = claim.reply
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
            await self._tell(entry, b"+WPI")
        elif how == "reject" or attempt >= self.parts.settings.max_attempts:
            await self.bury(entry, reason or f"given back {attempt} times")
        else:
            self._release(entry)
            await self._send_away(entry, delay)
            self.dispatch()

    async def bury(self, entry: Entry[Seat], reason: str) -> None:
        """Make a dead letter of a message."""
        self._release(entry)
        entry.state = State.GOING
        self._unbuffer(entry)
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
            message = decode(found.data)
        await self.parts.letters.add(
            entry.topic,
            message,
            key=entry.key,
            reason=reason,
            attempts=entry.attempt,
            id=f"{self.group}.{entry.sequence}.{entry.attempt}",
        )

    async def _finish(self, entry: Entry[Seat]) -> None:
        self._release(entry)
        self.window.remove(entry)
        try:
            await self._tell(entry, b"+ACK")
            if entry.note is not None:
                await self.attempts.forget(entry.note)
        finally:
            self.dispatch()

    # What happens to a message

    def _expire(self, entry: Entry[Seat]) -> None:
        """Take a message from a consumer whose lease ran out."""
        assert entry.seat is not None, "someone holds it"
        entry.seat.lose(entry.sequence)
        self._release(entry)
        entry.message = None
        entry.reason = f"not settled within the lease of {self.parts.settings.lease:g} s"

    def _take_back(self, entry: Entry[Seat], *, counted: bool) -> None:
        """Take a message from a consumer that is done with it, and let it wait again."""
        self._release(entry)
        if not counted:
            entry.attempt -= 1
        if entry.message is None:
            self.spawn(self._send_away(entry, 0.0), last_word=True)
        else:
            self._buffer(entry)
            self._arrive(entry)

    def _release(self, entry: Entry[Seat]) -> None:
        if entry.seat is not None:
            entry.seat.held.pop(entry.sequence, None)
            entry.seat = None
            entry.state = State.COMING

    async def _send_away(self, entry: Entry[Seat], delay: float) -> None:
        """Let the server keep a message until its time, and deliver it then."""
        entry.message = None
        self._unbuffer(entry)
        await self._tell(entry, b'-NAK {"delay":%d}' % int(delay * 1e9) if delay > 0 else b"-NAK")

    async def _hand_back(self, entry: Entry[Seat]) -> None:
        """Let the server deliver a message to the next owner, which then knows how often it was handed out."""
        if entry.attempt != UNKNOWN and (entry.note is not None or entry.attempt != 1):
            await self._note(entry)
        await self._tell(entry, b"-NAK")

    async def _note(self, entry: Entry[Seat]) -> None:
        if entry.note is None or entry.note.attempts != entry.attempt:
            entry.note = await self.attempts.note(entry.sequence, entry.attempt)

    async def _tell(self, entry: Entry[Seat], what: bytes) -> None:
        await self.parts.connection.publish(entry.reply, what)

    async def _catch_up(self) -> None:
        """Return when the server has done all that it was told about messages."""
        if self._last_reply:
            await self.parts.connection.request(self._last_reply, b"+WPI", timeout=self.parts.settings.timeout)

    async def _tend(self) -> None:
        """Keep the leases of what waits in memory."""
        while True:
            await asyncio.sleep(self.parts.settings.lease / 3)
            for entry in list(self.window.entries.values()):
                if entry.buffered and self.parts.connection.up.is_set():
                    await self._tell(entry, b"+WPI")

    async def _contain(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BrokerError as error:
            log.warning("group %s of %s: %s", self.group, self.pattern, error)

    def _room(self) -> int:
        free = self.parts.settings.read_ahead - self._buffered
        return max(1, free) if self._bounded else free

    def _buffer(self, entry: Entry[Seat]) -> None:
        if not entry.buffered:
            entry.buffered = True
            self._buffered += 1

    def _unbuffer(self, entry: Entry[Seat]) -> None:
        if entry.buffered:
            entry.buffered = False
            self._buffered -= 1
