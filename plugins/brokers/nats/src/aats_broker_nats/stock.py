"""The messages that the owner of a group has ready, and what the server and the notes say of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from nats.aio.msg import Msg

from aats_broker_nats.attempts import Attempts
from aats_broker_nats.parts import Parts
from aats_broker_nats.seats import Seat
from aats_broker_nats.takeover import Takeover
from aats_broker_nats.window import Entry, State, Window
from aats_broker_nats.wire import NOT_BEFORE, key_of
from aats_core.errors import BrokerError, InvalidPayload
from aats_core.message import decode, unreadable

log = logging.getLogger(__name__)

NEAR = 5.0
"""A message whose time is no further away than these seconds waits in memory, any other on the server."""
UNKNOWN = -1
"""The attempts of a message while they are looked up."""


class Stock:
    """Takes the messages of a group as the server delivers them, and knows how often each was handed out.

    `changed` is called when one may be handed out that could not be before, `exhausted` with one that was handed out
    too often.
    """

    def __init__(
        self,
        group: str,
        pattern: str,
        parts: Parts,
        changed: Callable[[], None],
        exhausted: Callable[[Entry[Seat], str], Coroutine[Any, Any, None]],
    ) -> None:
        self.parts = parts
        self.window: Window[Seat] = Window()
        self.takeover = Takeover(group, pattern, parts, self.window)
        self.attempts = Attempts(group, parts)
        self.buffered = 0
        self._what = f"group {group} of {pattern}"
        self._changed = changed
        self._exhausted = exhausted
        self.last_reply = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_words: set[asyncio.Task[None]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    async def end(self, *, finish: bool) -> None:
        """Stop what runs in the background; with `finish`, when all last words are said."""
        if finish:
            await asyncio.gather(*self._last_words)
        background = self._tasks | self._last_words
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()

    def spawn(self, work: Coroutine[Any, Any, None], *, last_word: bool = False) -> None:
        """Run something in the background until the owner retires, which awaits a last word; a failure is logged."""
        tasks = self._last_words if last_word else self._tasks
        task = asyncio.get_running_loop().create_task(self._contain(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def receive(self, message: Msg) -> None:
        """Take a message from the server."""
        fields = message.reply.split(".")
        deliveries, sequence = map(int, fields[4:6] if len(fields) == 9 else fields[6:8])
        self.last_reply = message.reply
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
        self._changed()

    def _read(self, entry: Entry[Seat], message: Msg) -> bool:
        try:
            entry.message = decode(message.data)
        except InvalidPayload as error:
            log.error("%s: what cannot be read becomes a dead letter: %s", entry.topic, error)
            entry.message = unreadable(message.data)
            self.spawn(self._exhausted(entry, f"it cannot be read: {error}"), last_word=True)
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
        self._changed()

    def _arrive(self, entry: Entry[Seat]) -> None:
        """Let a message wait for its turn, for its time, or be a dead letter."""
        if entry.attempt >= self.parts.settings.max_attempts:
            why = entry.reason or f"its consumer died or left without settling it, {entry.attempt} times"
            self.spawn(self._exhausted(entry, why), last_word=True)
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
        self._changed()

    async def _postpone(self, entry: Entry[Seat], wait: float) -> None:
        await self.note(entry)
        await self.send_away(entry, wait)

    def _expire(self, entry: Entry[Seat]) -> None:
        """Take a message from a consumer whose lease ran out."""
        assert entry.seat is not None, "someone holds it"
        entry.seat.lose(entry.sequence)
        self.release(entry)
        entry.message = None
        entry.reason = f"not settled within the lease of {self.parts.settings.lease:g} s"

    def take_back(self, entry: Entry[Seat], *, counted: bool) -> None:
        """Take a message from a consumer that is done with it, and let it wait again."""
        self.release(entry)
        if not counted:
            entry.attempt -= 1
        if entry.message is None:
            self.spawn(self.send_away(entry, 0.0), last_word=True)
        else:
            self._buffer(entry)
            self._arrive(entry)

    def release(self, entry: Entry[Seat]) -> None:
        """Take a message from whoever holds it."""
        if entry.seat is not None:
            entry.seat.held.pop(entry.sequence, None)
            entry.seat = None
            entry.state = State.COMING

    async def send_away(self, entry: Entry[Seat], delay: float) -> None:
        """Let the server keep a message until its time, and deliver it then."""
        entry.message = None
        self.unbuffer(entry)
        await self.tell(entry, b'-NAK {"delay":%d}' % int(delay * 1e9) if delay > 0 else b"-NAK")

    async def hand_back(self, entry: Entry[Seat]) -> None:
        """Let the server deliver a message to the next owner, which then knows how often it was handed out."""
        if entry.attempt != UNKNOWN and (entry.note is not None or entry.attempt != 1):
            await self.note(entry)
        await self.tell(entry, b"-NAK")

    async def note(self, entry: Entry[Seat]) -> None:
        """Write down how often a message was handed out, unless that is written."""
        if entry.note is None or entry.note.attempts != entry.attempt:
            entry.note = await self.attempts.note(entry.sequence, entry.attempt)

    async def tell(self, entry: Entry[Seat], what: bytes) -> None:
        """Tell the server what becomes of a message."""
        await self.parts.connection.publish(entry.reply, what)

    async def catch_up(self) -> None:
        """Return when the server has done all that it was told about messages."""
        if self.last_reply:
            await self.parts.connection.request(self.last_reply, b"+WPI", timeout=self.parts.settings.timeout)

    async def tend(self) -> None:
        """Keep the leases of what waits in memory."""
        while True:
            await asyncio.sleep(self.parts.settings.lease / 3)
            for entry in list(self.window.entries.values()):
                if entry.buffered and self.parts.connection.up.is_set():
                    await self.tell(entry, b"+WPI")

    async def _contain(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BrokerError as error:
            log.warning("%s: %s", self._what, error)

    def _buffer(self, entry: Entry[Seat]) -> None:
        if not entry.buffered:
            entry.buffered = True
            self.buffered += 1

    def unbuffer(self, entry: Entry[Seat]) -> None:
        """Count a message no longer as one that waits in memory."""
        if entry.buffered:
            entry.buffered = False
            self.buffered -= 1
