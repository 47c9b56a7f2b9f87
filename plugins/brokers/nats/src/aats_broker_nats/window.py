"""The messages of a group that its owner knows of: who is next, and who has to wait for whom."""

from __future__ import annotations

import heapq
from bisect import insort
from enum import Enum, auto
from typing import Generic, TypeVar

from aats_broker_nats.attempts import Note
from aats_core.message import Message

S = TypeVar("S")


class State(Enum):
    """Where a message is."""

    COMING = auto()
    """Not to be handed out yet: its attempts are looked up, its time has not come, or the server has it for a while."""
    READY = auto()
    """To be handed out, once those of its key before it are settled."""
    HELD = auto()
    """A consumer has it."""
    GOING = auto()
    """It becomes a dead letter."""


class Entry(Generic[S]):
    """A message on its way to one group; `message` is None while only the server, or another client, has it.

    `deliveries` is how often the server says that it delivered it, 0 where it is only known to exist; `attempt` how
    often it was handed out, and `note` what is written down of that.
    """

    __slots__ = (
        "attempt",
        "buffered",
        "deliveries",
        "key",
        "message",
        "not_before",
        "note",
        "priority",
        "reason",
        "reply",
        "seat",
        "sequence",
        "state",
        "topic",
    )

    def __init__(self, sequence: int, topic: str, key: str | None, reply: str) -> None:
        self.sequence = sequence
        self.topic = topic
        self.key = key
        self.reply = reply
        self.message: Message | None = None
        self.priority = 5
        self.not_before = 0.0
        self.attempt = 0
        self.deliveries = 0
        self.note: Note | None = None
        self.reason = ""
        self.buffered = False
        self.state = State.COMING
        self.seat: S | None = None


class Window(Generic[S]):
    """Orders messages by priority, then age; one with a key waits for all unsettled ones of its topic and key.

    While it is `closed`, messages with a key wait: ones that come before them may be unknown yet.
    """

    def __init__(self) -> None:
        self.entries: dict[int, Entry[S]] = {}
        self.closed = False
        self._ready: list[tuple[int, int, Entry[S]]] = []
        self._chains: dict[tuple[str, str], list[int]] = {}

    def admit(self, entry: Entry[S]) -> None:
        """Learn of a message."""
        self.entries[entry.sequence] = entry
        if entry.key is not None:
            insort(self._chains.setdefault((entry.topic, entry.key), []), entry.sequence)

    def offer(self, entry: Entry[S]) -> None:
        """Let a message be handed out when its turn comes."""
        entry.state = State.READY
        if entry.key is None or self._leads(entry):
            heapq.heappush(self._ready, (entry.priority, entry.sequence, entry))

    def pop(self) -> Entry[S] | None:
        """Take out the next message, if there is one."""
        while self._ready:
            entry = heapq.heappop(self._ready)[2]
            if entry.state is State.READY and (entry.key is None or self._leads(entry)):
                return entry
        return None

    def remove(self, entry: Entry[S]) -> None:
        """Forget a message, and let the next of its key go on."""
        if self.entries.pop(entry.sequence, None) is None or entry.key is None:
            return
        place = (entry.topic, entry.key)
        chain = self._chains[place]
        chain.remove(entry.sequence)
        if chain:
            self._wake(chain)
        else:
            del self._chains[place]

    def open(self) -> None:
        """Let messages with a key go on."""
        self.closed = False
        for chain in self._chains.values():
            self._wake(chain)

    def _wake(self, chain: list[int]) -> None:
        first = self.entries[chain[0]]
        if first.state is State.READY:
            self.offer(first)

    def _leads(self, entry: Entry[S]) -> bool:
        assert entry.key is not None, "only a key makes a chain"
        return not self.closed and self._chains[entry.topic, entry.key][0] == entry.sequence
