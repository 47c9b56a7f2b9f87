"""Dead letters: a compacted topic for each topic, from which what is purged or replayed is deleted by its key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from aats_broker_kafka.driver import EARLIEST, LATEST, Driver, Record, TopicPartition
from aats_broker_kafka.producer import Producer
from aats_broker_kafka.topics import Topics
from aats_core.broker import DeadLetter
from aats_core.errors import BrokerUnavailable
from aats_core.message import Message, decode, encode, new_id


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dead letter as it is written."""

    topic: str
    message: msgspec.Raw
    reason: str
    attempts: int
    time: float
    key: str | None = None


class Kept(NamedTuple):
    """A dead letter, and the key its message was published with."""

    letter: DeadLetter
    key: str | None


class Letters:
    """Writes, lists and deletes dead letters."""

    def __init__(self, driver: Driver, producer: Producer, topics: Topics) -> None:
        self._driver = driver
        self._producer = producer
        self._topics = topics

    async def put(self, topic: str, message: Message, key: str | None, reason: str, attempts: int) -> None:
        """Write a dead letter."""
        stored = _Stored(topic, msgspec.Raw(encode(message)), reason, attempts, time.time(), key)
        dead = await self._topics.ensure_dead(topic)
        await self._producer.send(dead, msgspec.json.encode(stored), key=new_id().encode())

    async def find(self, pattern: str, ids: Sequence[str] | None = None) -> list[Kept]:
        """Return the dead letters of a topic or pattern, oldest first; of those ids, where some are given."""
        await self._driver.refresh()
        wanted = None if ids is None else set(ids)
        found = [kept for dead in self._topics.known_dead(pattern).values() for kept in await self._read(dead)]
        chosen = [kept for kept in found if wanted is None or kept.letter.id in wanted]
        return sorted(chosen, key=lambda kept: (kept.letter.time, kept.letter.id))

    async def remove(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        await self._producer.send(self._topics.dead(letter.topic), None, key=letter.id.encode())

    async def counts(self) -> dict[str, int]:
        """Return how many dead letters each topic has."""
        await self._driver.refresh()
        return {topic: len(await self._read(dead)) for topic, dead in self._topics.known_dead().items()}

    async def _read(self, dead: str) -> list[Kept]:
        place = TopicPartition(dead, 0)
        position = (await self._driver.offsets([place], EARLIEST))[place]
        end = (await self._driver.offsets([place], LATEST))[place]
        letters: dict[bytes, Record] = {}
        while position < end:
            node = self._driver.leader(place)
            if node is None:
                raise BrokerUnavailable(f"{dead} has no leader")
            found = (await self._driver.fetch(node, {place: position}, wait=0.1))[place]
            if found.error:
                await self._driver.refresh()
                raise BrokerUnavailable(f"{dead} cannot be read (error {found.error})")
            position = found.position
            for record in found.records:
                if record.key is not None:
                    letters.pop(record.key, None)
                    if record.value is not None:
                        letters[record.key] = record
        return [_kept(key, record.value or b"") for key, record in letters.items()]


def _kept(key: bytes, value: bytes) -> Kept:
    stored = msgspec.json.decode(value, type=_Stored)
    message = decode(bytes(stored.message))
    letter = DeadLetter(key.decode(), stored.topic, message, stored.reason, stored.attempts, stored.time)
    return Kept(letter, stored.key)
