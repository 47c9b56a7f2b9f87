"""The messages that nobody could handle."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Sequence

import msgspec

from aats_core.broker import DeadLetter, topic_matches

log = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """A dead letter with the key that its message was published with."""

    letter: DeadLetter
    key: str | None


class DeadLetters:
    """A bounded number of dead letters, oldest first; the oldest makes room for the newest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[str, Kept] = {}
        self._ids = itertools.count(1)
        self.dropped = 0

    def new_id(self) -> str:
        """Return an id that no other letter of this broker has."""
        return str(next(self._ids))

    def add(self, letter: DeadLetter, key: str | None) -> None:
        """Keep a letter, dropping the oldest where there are too many."""
        self._kept[letter.id] = Kept(letter, key)
        if len(self._kept) > self._limit:
            oldest = self._kept.pop(next(iter(self._kept))).letter
            self.dropped += 1
            log.warning(
                "dead letter %s of %s dropped, there are more than %d: message %s (%s)",
                *(oldest.id, oldest.topic, self._limit, oldest.message.id, oldest.reason),
            )

    def of(self, topic: str, ids: Sequence[str] | None = None) -> list[Kept]:
        """Return the letters of a topic or pattern, all or the named ones, oldest first."""
        found = [kept for kept in self._kept.values() if topic_matches(topic, kept.letter.topic)]
        return found if ids is None else [kept for kept in found if kept.letter.id in set(ids)]

    def counts(self) -> Counter[str]:
        """Return how many letters each topic has."""
        return Counter(kept.letter.topic for kept in self._kept.values())

    def remove(self, letter: DeadLetter) -> None:
        """Forget a letter."""
        self._kept.pop(letter.id, None)
