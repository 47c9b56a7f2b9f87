"""The messages of one group that were read and are not settled: who is next, and who has to wait for whom."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from aats_broker_kafka.partition import Entry, Partition, State


class Taker(Protocol):
    """Who can be handed a message: a consumer of this client, or another `client`."""

    client: str

    def expect(self) -> None:
        """Keep room for a message that is about to come."""

    def missed(self) -> None:
        """Say that what was about to come does not."""


class Queue:
    """Ready messages by priority and age, delayed ones, and those behind an earlier message of their topic and key."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.count = 0
        self.bytes = 0
        self._wake = wake
        self._numbers = itertools.count()
        self._ready: list[tuple[int, int, int, Entry]] = []
        self._behind: dict[tuple[str, str], deque[Entry]] = {}

    def add(self, entry: Entry, *, ready: bool) -> None:
        """Add a message that was read, without saying so; one that is not `ready` is somebody's already."""
        self.count += 1
        self.bytes += entry.size
        entry.part.add(entry)
        if entry.key is not None:
            behind = self._behind.setdefault((entry.topic, entry.key), deque())
            behind.append(entry)
            if len(behind) > 1:
                return
        if ready and entry.due:
            self.release(entry)
        elif ready:
            self.put_back(entry)

    def release(self, entry: Entry) -> None:
        """Make a message ready that waits for none of its key, at its time."""
        wait = entry.due - time.time() if entry.due else 0.0
        if wait > 0:
            entry.state = State.WAITING
            asyncio.get_running_loop().call_later(wait, self._due, entry)
            return
        self.put_back(entry)
        self._wake()

    def put_back(self, entry: Entry) -> None:
        """Let a message be ready, without saying so: who took it cannot hand it out yet."""
        entry.state = State.READY
        heapq.heappush(self._ready, (entry.message.priority, entry.timestamp, next(self._numbers), entry))

    def next(self) -> Entry | None:
        """Take the next message, of a partition whose note can take its mark."""
        full, found = [], None
        while self._ready:
            item = heapq.heappop(self._ready)
            entry = item[3]
            if entry.state != State.READY or not entry.part.mine or entry.part.leaving:
                continue
            if entry.part.has_room():
                found = entry
                break
            full.append(item)
        for item in full:
            heapq.heappush(self._ready, item)
        return found

    def __len__(self) -> int:
        """Return how many may be ready."""
        return len(self._ready)

    def settle(self, entry: Entry) -> None:
        """Forget a message, and let the next of its key go on."""
        if entry.state == State.DONE:
            return
        entry.part.settle(entry)
        self._forget(entry)

    def drop(self, part: Partition) -> None:
        """Forget the messages of a partition without settling them."""
        part.mine = False
        for entry in list(part.open.values()):
            entry.state = State.DONE
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self.count -= 1
        self.bytes -= entry.size
        if entry.key is None:
            return
        place = (entry.topic, entry.key)
        behind = self._behind[place]
        first = behind[0] is entry
        behind.remove(entry)
        if not behind:
            del self._behind[place]
        elif first and behind[0].state == State.WAITING and entry.part.mine:
            self.release(behind[0])

    def _due(self, entry: Entry) -> None:
        if entry.state == State.WAITING and entry.part.mine:
            self.release(entry)
