"""What a team's messages are doing: its topics and its dead letters, by the names that the team gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from aats_core.broker import Broker, DeadLetter, TopicStatus
from aats_core.errors import NotFound


class TeamTopics:
    """Looks after the part of a broker that lies under one namespace, which is left out of every name here."""

    def __init__(self, broker: Broker, namespace: str) -> None:
        self._broker = broker
        self._prefix = f"{namespace}."

    async def status(self) -> list[TopicStatus]:
        """Return every topic and pattern of the team that has a group or dead letters."""
        found = await self._broker.topics()
        return [replace(s, topic=self._own(s.topic)) for s in found if s.topic.startswith(self._prefix)]

    async def dead_letters(self, topic: str | None = None) -> list[DeadLetter]:
        """Return the dead letters of a topic or pattern, or of all, oldest first."""
        topics = [s.topic for s in await self.status() if s.dead] if topic is None else [topic]
        letters = [letter for name in topics for letter in await self._broker.dead_letters(self._prefix + name)]
        return sorted((replace(e, topic=self._own(e.topic)) for e in letters), key=lambda letter: letter.time)

    async def edit(self, id: str, payload: Any) -> DeadLetter:
        """Give the message of a dead letter another payload; returns the letter that takes the old one's place.

        Raises `NotFound` where there is no such letter.
        """
        (old,) = await self._find([id])
        before = {letter.id for letter in await self.dead_letters(old.topic)}
        topic = self._prefix + old.topic
        message = replace(old.message, payload=payload)
        await self._broker.dead_letter(topic, message, reason=old.reason, attempts=old.attempts)
        await self._broker.purge(topic, [old.id])
        added = [letter for letter in await self.dead_letters(old.topic) if letter.id not in before]
        return next((letter for letter in added if letter.message.id == message.id), replace(old, message=message))

    async def replay(self, ids: Sequence[str]) -> int:
        """Publish dead letters again, in their order, and return how many there were; see `edit` for errors."""
        return sum([await self._broker.replay(t, some) for t, some in self._by_topic(await self._find(ids))])

    async def purge(self, ids: Sequence[str]) -> int:
        """Delete dead letters and return how many there were; see `edit` for errors."""
        return sum([await self._broker.purge(t, some) for t, some in self._by_topic(await self._find(ids))])

    async def _find(self, ids: Sequence[str]) -> list[DeadLetter]:
        found = {letter.id: letter for letter in await self.dead_letters()}
        missing = [each for each in ids if each not in found]
        if missing:
            raise NotFound(f"there is no dead letter {', '.join(missing)}; `aats dlq list` tells which there are")
        return [letter for letter in found.values() if letter.id in ids]

    def _by_topic(self, letters: Iterable[DeadLetter]) -> list[tuple[str, list[str]]]:
        topics: dict[str, list[str]] = {}
        for letter in letters:
            topics.setdefault(self._prefix + letter.topic, []).append(letter.id)
        return list(topics.items())

    def _own(self, topic: str) -> str:
        return topic.removeprefix(self._prefix)
