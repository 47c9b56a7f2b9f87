"""What one consumer of messages with keys tells the next, who gets them back from the server in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from aats_broker_rabbitmq.context import Context
from aats_broker_rabbitmq.entry import Entry
from aats_broker_rabbitmq.intake import Intake
from aats_broker_rabbitmq.session import Session, close_channel, translated
from aats_broker_rabbitmq.topology import MANY, QUORUM
from aats_core.errors import BrokerError

Notes = dict[str, tuple[int, float]]
"""By message: by how much the server counts its deliveries wrongly, and when it is due (0 for now)."""

_decoder = msgspec.json.Decoder(Notes)
_KEPT = 100


async def write_notes(context: Context, keyed: Intake, queue: str, noted: Noted) -> None:
    """Leave notes on what is unsettled, and those on messages that did not come this far."""
    await keyed.catch_up()
    notes = dict(await noted.complete())
    for entry in keyed.unsettled.values():
        due = entry.due if entry.wait() > 0 else 0.0
        if entry.drift or due:
            notes[entry.message.id] = (entry.drift, due)
    if not notes:
        return
    async with translated(queue):
        arguments = {**QUORUM, "x-max-length": _KEPT, "x-delivery-limit": MANY}
        await keyed.channel.queue_declare(queue=queue, durable=True, arguments=arguments)
    await context.publisher.publish("", queue, msgspec.json.encode(notes))


class Noted:
    """Passes messages on in their order, and reads the notes first where one has come back to the server before."""

    def __init__(self, session: Session, queue: str, notes: Notes, passed_on: Callable[[Entry], None]) -> None:
        self._session = session
        self._queue = queue
        self._passed_on = passed_on
        self._notes = notes
        self._reading: asyncio.Task[None] | None = None
        self._waiting: deque[Entry] = deque()

    def arrived(self, entry: Entry) -> None:
        """Take a message; those after it wait where it does."""
        if self._reading is None and entry.attempts:
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None and not self._reading.done():
            self._waiting.append(entry)
        else:
            self._pass_on(entry)

    async def complete(self) -> Notes:
        """Return the notes on messages that have not come, once what came is passed on."""
        if self._reading is not None:
            await self._reading
        return self._notes

    def _pass_on(self, entry: Entry) -> None:
        if self._notes:
            drift, due = self._notes.pop(entry.message.id, (0, 0.0))
            entry.attempts += drift
            entry.due = max(entry.due, due)
        self._passed_on(entry)

    async def _read(self) -> None:
        with suppress(BrokerError):  # there are none, or the connection ended and everything comes anew
            await self._fetch()
        while self._waiting:
            self._pass_on(self._waiting.popleft())

    async def _fetch(self) -> None:
        async with translated(self._queue):
            channel = await self._session.channel()
            try:
                while body := (await channel.basic_get(self._queue, no_ack=True)).body:
                    self._notes.update(_decoder.decode(body))
            finally:
                await close_channel(channel, 5)
