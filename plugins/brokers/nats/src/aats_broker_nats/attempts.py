"""How often a message was handed out, written down where the server's own count would say something else.

JetStream counts what it delivers to the owner of a group, which keeps messages ready that no handler has seen yet. So
the first delivery of a message needs no note: it is attempt 1 at most. Every later one is written down before it is
handed out.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import msgspec

from aats_broker_nats.parts import Parts
from aats_core.errors import BrokerError


class Note(NamedTuple):
    """How often a message was handed out, and the sequence of the note that says so."""

    attempts: int
    sequence: int


class Attempts:
    """The notes of one group."""

    def __init__(self, group: str, parts: Parts) -> None:
        self._group = group
        self._parts = parts

    async def recall(self, sequence: int) -> Note | None:
        """Return the note about a message."""
        names = self._parts.names
        found = await self._parts.jetstream.last(names.attempts, names.attempt(self._group, sequence))
        if found is None:
            return None
        assert found.headers is not None, "a direct answer has headers"
        return Note(int(found.data), int(found.headers["Nats-Sequence"]))

    async def note(self, sequence: int, attempts: int) -> Note:
        """Write it down; returns once the server has confirmed it."""
        subject = self._parts.names.attempt(self._group, sequence)
        written = await self._parts.publisher.publish(subject, b"%d" % attempts)
        return Note(attempts, written)

    async def forget(self, note: Note) -> None:
        """Drop a note about a message that is settled; one that is left behind does no harm."""
        body = msgspec.json.encode({"seq": note.sequence, "no_erase": True})
        with suppress(BrokerError):
            await self._parts.connection.publish(f"$JS.API.STREAM.MSG.DELETE.{self._parts.names.attempts}", body)
