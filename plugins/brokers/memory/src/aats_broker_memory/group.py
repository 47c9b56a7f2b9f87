"""The messages of one group: who is next, and who has to wait for whom."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from functools import partial

from aats_broker_memory.permits import Permits
from aats_broker_memory.timers import Timers
from aats_core.broker import GroupStatus
from aats_core.clock import Clock
from aats_core.message import Message


class Entry:
    """A message on its way to one group."""

    __slots__ = ("attempt", "key", "message", "not_before", "order", "topic")

    def __init__(self, topic: str, message: Message, key: str | None, not_before: float | None, order: int) -> None:
        self.topic = topic
        self.message = message
        self.key = key
        self.not_before = not_before
        self.order = order
        self.attempt = 0


class Group:
    """What a group has still to handle: ready by priority and age, delayed, or behind an earlier message of its key.

    `room` has one permit for each message that still fits, `ready` one for each that can be taken.
    """

    def __init__(
        self,
        topic: str,
        name: str,
        *,
        capacity: int,
        max_attempts: int,
        timers: Timers,
        clock: Clock,
        bury: Callable[[Entry, str], None],
    ) -> None:
        self.topic = topic
        self.name = name
        self.consumers = 0
        self._capacity = capacity
        self._held = 0
        self.room = Permits(capacity)
        self.ready = Permits(0)
        self._max_attempts = max_attempts
        self._timers = timers
        self._clock = clock
        self._bury = bury
        self._heap: list[tuple[int, int, Entry]] = []
        self._behind: dict[tuple[str, str], deque[Entry]] = {}

    def put(self, entry: Entry) -> None:
        """Add a new message, for which a permit of `room` has been taken."""
        if entry.key is not None:
            behind = self._behind.setdefault((entry.topic, entry.key), deque())
            behind.append(entry)
            if len(behind) > 1:
                return
        self._admit(entry)

    def take(self) -> Entry:
        """Return the next message and count the attempt; a permit of `ready` has been taken for it."""
        entry = heapq.heappop(self._heap)[2]
        entry.attempt += 1
        self._held += 1
        return entry

    def status(self) -> GroupStatus:
        """Return the group's figures."""
        waiting = self._capacity - self.room.free - self._held
        return GroupStatus(self.name, self.consumers, waiting, self._held)

    def give_back(self, entry: Entry, *, delay: float, reason: str) -> None:
        """Deliver a message again after some seconds, or bury it if this was its last attempt."""
        if entry.attempt >= self._max_attempts:
            self.bury(entry, reason)
            return
        self._held -= 1
        if delay > 0:
            self._timers.call_at(self._clock.monotonic() + delay, partial(self._make_ready, entry))
        else:
            self._make_ready(entry)

    def bury(self, entry: Entry, reason: str) -> None:
        """Make a dead letter of a message."""
        self._bury(entry, reason)
        self.finish(entry)

    def finish(self, entry: Entry) -> None:
        """Forget a message, and let the next of its key go on."""
        self._held -= 1
        self.room.put()
        if entry.key is not None:
            place = (entry.topic, entry.key)
            behind = self._behind[place]
            behind.popleft()
            if behind:
                self._admit(behind[0])
            else:
                del self._behind[place]

    def _admit(self, entry: Entry) -> None:
        wait = 0.0 if entry.not_before is None else entry.not_before - self._clock.time()
        if wait > 0:
            self._timers.call_at(self._clock.monotonic() + wait, partial(self._admit, entry))
        else:
            self._make_ready(entry)

    def _make_ready(self, entry: Entry) -> None:
        heapq.heappush(self._heap, (entry.message.priority, entry.order, entry))
        self.ready.put()
