"""What a new owner has to find out before it may trust the order of keys, and an old one after an outage."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from aats_broker_nats.parts import Parts
from aats_broker_nats.seats import Seat
from aats_broker_nats.window import Entry, Window
from aats_broker_nats.wire import key_of

MANY = 5000
"""With more messages than this in doubt, all that have a key wait, not only those of the keys in doubt."""


class Takeover:
    """Holds back the keys of which others may still hold a message.

    The server says how many messages are out, not which. Each is met again: its holder claims it, or the server
    delivers it once more, at the latest when its lease is over. Until all are met, every message that may be one of
    them stands in the window, so that none of its key is handed out before it.
    """

    def __init__(self, group: str, pattern: str, parts: Parts, window: Window[Seat]) -> None:
        self._group = group
        self._pattern = pattern
        self._parts = parts
        self._window = window
        self.gathering = 0
        self._came = 0
        self._missing = 0
        self._met: set[int] = set()
        self._info: dict[str, Any] = {}
        self._over = asyncio.Event()

    async def begin(self) -> None:
        """Ask what is out, before anything is pulled."""
        self._info = await self._parts.jetstream.consumer(self._group)
        self._came = self._info["delivered"]["consumer_seq"]
        self._missing = self._info["num_ack_pending"]
        self._window.closed = self._missing > 0
        self.gathering = min(self._info["num_pending"], self._parts.settings.read_ahead)

    def came(self) -> None:
        """Note that a message came."""
        self._came += 1
        if self.gathering:
            self.gathering -= 1

    def met(self, sequence: int) -> None:
        """Note that a message was met which this owner did not know."""
        if self._missing and sequence <= self._info["delivered"]["stream_seq"]:
            self._missing -= 1
            self._met.add(sequence)
            if not self._missing:
                self._end()

    async def run(self) -> None:
        """Read what is in doubt, and wait until nothing is."""
        if not self._missing:
            return
        doubtful = await self._between_floor_and_last()
        if self._missing and len(doubtful) < MANY:
            for sequence, topic, key in doubtful:
                if key is not None and sequence not in self._met:
                    self._window.admit(Entry(sequence, topic, key, ""))
            self._window.open()
        try:
            async with asyncio.timeout(self._parts.settings.lease + 1):
                await self._over.wait()
        except TimeoutError:
            self._missing = 0
            self._end()

    async def settle(self, seconds: float) -> None:
        """Wait that long for the messages that others have given back.

        NATS 2.9 forgets to deliver one again whose turn comes just as the request for it is taken back.
        """
        if self._missing:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._over.wait()

    async def repair(self) -> None:
        """Let the server deliver again what it sent to a request that nobody listened for any more.

        It counts what it sends and what is out; where that is more than came, all that did not come is given back.
        """
        self._info = info = await self._parts.jetstream.consumer(self._group)
        names, sent = self._parts.names, info["delivered"]["consumer_seq"]
        known = sum(1 for entry in self._window.entries.values() if entry.deliveries)
        if sent <= self._came and (self._missing or info["num_ack_pending"] <= known):
            return
        self._came = sent
        for sequence, _, _ in await self._between_floor_and_last():
            entry = self._window.entries.get(sequence)
            if entry is None or not entry.deliveries:
                subject = f"$JS.ACK.{names.messages}.{self._group}.1.{sequence}.{sent}.{time.time_ns()}.0"
                await self._parts.connection.publish(subject, b"-NAK")

    async def _between_floor_and_last(self) -> list[tuple[int, str, str | None]]:
        names, found = self._parts.names, list[tuple[int, str, str | None]]()
        first, last = self._info["ack_floor"]["stream_seq"] + 1, self._info["delivered"]["stream_seq"]
        read = self._parts.jetstream.read(names.messages, names.message(self._pattern), first)
        async for sequence, subject, message in read:
            if sequence > last or len(found) == MANY:
                break
            found.append((sequence, names.topic(subject), key_of(message.headers)))
        return found

    def _end(self) -> None:
        self._over.set()
        self._met.clear()
        for entry in [entry for entry in self._window.entries.values() if not entry.deliveries]:
            self._window.remove(entry)
        self._window.open()
