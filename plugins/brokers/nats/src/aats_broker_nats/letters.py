"""The messages that nobody could handle, in a stream of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import NamedTuple

from nats.aio.msg import Msg

from aats_broker_nats.jetstream import JetStream
from aats_broker_nats.names import Names
from aats_broker_nats.publisher import Publisher
from aats_broker_nats.wire import ATTEMPTS, ID, KEY, REASON, TIME, headers, key_of, quoted, readable
from aats_core.broker import DeadLetter
from aats_core.message import Message, encode, new_id


class Kept(NamedTuple):
    """A dead letter with the key that its message was published with."""

    letter: DeadLetter
    key: str | None


class Letters:
    """Adds, reads, replays and deletes dead letters; the id of one is its sequence in the stream."""

    def __init__(self, names: Names, publisher: Publisher, jetstream: JetStream) -> None:
        self._names = names
        self._publisher = publisher
        self._jetstream = jetstream

    async def add(
        self, topic: str, message: Message, *, key: str | None, reason: str, attempts: int, id: str = ""
    ) -> None:
        """Keep a message; with an `id`, one that was kept under it a moment ago is not kept again."""
        made = headers(key, None) | {
            ID: id or new_id(),
            REASON: quoted(reason),
            ATTEMPTS: str(attempts),
            TIME: repr(time.time()),
        }
        await self._publisher.publish(self._names.letter(topic), encode(message), made)

    async def all(self, topic: str) -> list[Kept]:
        """Return the dead letters of a topic or pattern, oldest first."""
        found = self._jetstream.read(self._names.dead, self._names.letter(topic))
        return [self._kept(sequence, subject, message) async for sequence, subject, message in found]

    async def replay(self, topic: str, ids: Sequence[str], edited: Message | None) -> int:
        """Publish the messages of those letters again, each to its own topic, and return how many there were."""
        replayed = 0
        for kept in await self._named(topic, ids):
            letter = kept.letter
            data = encode(edited or letter.message)
            await self._publisher.publish(self._names.message(letter.topic), data, headers(kept.key, None))
            replayed += await self._jetstream.delete(self._names.dead, int(letter.id))
        return replayed

    async def purge(self, topic: str, ids: Sequence[str] | None) -> int:
        """Delete those letters, or all, and return how many there were."""
        if ids is None:
            return await self._jetstream.purge(self._names.dead, self._names.letter(topic))
        found = await self._named(topic, ids)
        return sum([await self._jetstream.delete(self._names.dead, int(kept.letter.id)) for kept in found])

    async def counts(self) -> dict[str, int]:
        """Return how many letters each topic has."""
        found = await self._jetstream.subjects(self._names.dead, self._names.subjects(self._names.dead))
        return {self._names.topic(subject): count for subject, count in found.items()}

    async def _named(self, topic: str, ids: Sequence[str]) -> list[Kept]:
        wanted = set(ids)
        return [kept for kept in await self.all(topic) if kept.letter.id in wanted]

    def _kept(self, sequence: int, subject: str, message: Msg) -> Kept:
        found = message.headers or {}
        return Kept(
            DeadLetter(
                id=str(sequence),
                topic=self._names.topic(subject),
                message=readable(message.data),
                reason=json.loads(found.get(REASON, '""')),
                attempts=int(found.get(ATTEMPTS, "0")),
                time=float(found.get(TIME, "0")),
            ),
            key_of(found) if KEY in found else None,
        )
