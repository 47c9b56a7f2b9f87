"""What things are called on the server: subjects, streams and consumers."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import quote, unquote

_CACHED = 4096


class Names:
    """All names that begin with the `stream` of the settings, so that several installations share a server.

    A topic is the end of a subject, word by word; what NATS forbids in a word is percent-encoded, and an empty
    word is `%`.
    """

    def __init__(self, stream: str) -> None:
        self.messages = stream
        self.dead = f"{stream}-dead"
        self.attempts = f"{stream}-attempts"
        self.owners = f"{stream}-owners"
        self._root = stream
        self._words = {self.messages: "messages", self.dead: "dead", self.attempts: "attempts", self.owners: "owner"}

    def subjects(self, stream: str) -> str:
        """Return what a stream listens to."""
        return f"{self._root}.{self._words[stream]}.>"

    def message(self, topic: str) -> str:
        """Return the subject of a topic's messages, or the filter for a pattern's."""
        return f"{self._root}.messages.{encoded(topic)}"

    def letter(self, topic: str) -> str:
        """Return the subject of a topic's dead letters, or the filter for a pattern's."""
        return f"{self._root}.dead.{encoded(topic)}"

    def attempt(self, group: str, sequence: int) -> str:
        """Return where the attempts of one message in one group are written down."""
        return f"{self._root}.attempts.{group}.{sequence}"

    def owner(self, group: str) -> str:
        """Return where a group's owner is written down."""
        return f"{self._root}.owner.{group}"

    def commands(self, group: str) -> str:
        """Return where the owner of a group takes commands."""
        return f"{self._root}.group.{group}"

    def topic(self, subject: str) -> str:
        """Return the topic of a message's or a dead letter's subject."""
        return decoded(subject.split(".", 2)[2])


def group_id(topic: str, group: str, nonce: str = "") -> str:
    """Return the name of a group's consumer: readable, and no other group's."""
    digest = hashlib.sha256(f"{topic}\0{group}\0{nonce}".encode()).hexdigest()[:24]
    return f"{re.sub('[^A-Za-z0-9_-]', '-', group)[:32]}-{digest}"


@lru_cache(_CACHED)
def encoded(topic: str) -> str:
    """Return a topic or pattern as NATS takes it."""
    return ".".join(word if word == "*" else quote(word, safe="~@:=+") or "%" for word in topic.split("."))


@lru_cache(_CACHED)
def decoded(subject: str) -> str:
    """Return the topic that was encoded."""
    return ".".join("" if word == "%" else unquote(word) for word in subject.split("."))
