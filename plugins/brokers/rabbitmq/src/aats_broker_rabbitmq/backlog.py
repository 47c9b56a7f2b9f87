"""What a consumer has fetched and not yet handed out: who is next, and who has to wait for whom."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator

from aats_broker_rabbitmq.entry import Entry
from aats_broker_rabbitmq.intake import Intake


class Backlog:
    """Orders entries by priority and age; of each key only the oldest unsettled one is ever ready."""

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self._heap: list[tuple[int, int, Entry]] = []
        self._behind: dict[tuple[str, str], deque[Entry]] = {}
        self._order = itertools.count()
        self._timers: dict[Entry, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Return how many entries can be handed out now."""
        return len(self._heap)

    def __iter__(self) -> Iterator[Entry]:
        """Return the entries that can be handed out now, in no order."""
        return (entry for _, _, entry in self._heap)

    def put(self, entry: Entry) -> None:
        """Add what was fetched."""
        entry.order = next(self._order)
        if entry.key is not None:
            behind = self._behind.setdefault((entry.topic, entry.key), deque())
            behind.append(entry)
            if len(behind) > 1:
                return
        self._admit(entry)

    def pop(self) -> Entry:
        """Return what is to be handed out next."""
        return heapq.heappop(self._heap)[2]

    def put_held(self, entry: Entry) -> None:
        """Add what came again while it is still in hand."""
        if entry.key is not None:
            self._behind.setdefault((entry.topic, entry.key), deque()).appendleft(entry)

    def again(self, entry: Entry, delay: float) -> None:
        """Make an entry that was handed out ready again after some seconds."""
        entry.due = time.time() + delay if delay > 0 else 0.0
        self._admit(entry)

    def finish(self, entry: Entry) -> None:
        """Forget an entry that was handed out, and let the next of its key go on."""
        if entry.key is not None:
            place = (entry.topic, entry.key)
            behind = self._behind.get(place)
            if behind and behind[0] is entry:
                behind.popleft()
                if behind:
                    self._admit(behind[0])
                else:
                    del self._behind[place]

    def drop(self, gone: Callable[[Entry], bool]) -> None:
        """Forget entries, with everything that waits behind them."""
        self._heap = [item for item in self._heap if not gone(item[2])]
        heapq.heapify(self._heap)
        for entry in [entry for entry in self._timers if gone(entry)]:
            self._timers.pop(entry).cancel()
        for place, behind in list(self._behind.items()):
            left = deque(entry for entry in behind if not gone(entry))
            if left:
                self._behind[place] = left
            else:
                del self._behind[place]

    def drop_all_of(self, intake: Intake) -> None:
        """Forget what came by an intake that is no more."""
        self.drop(lambda entry: entry.intake is intake)

    def _admit(self, entry: Entry) -> None:
        wait = entry.wait()
        if wait > 0:
            self._timers[entry] = asyncio.get_running_loop().call_later(wait, self._rise, entry)
        else:
            self._push(entry)

    def _rise(self, entry: Entry) -> None:
        self._timers.pop(entry, None)
        self._admit(entry)

    def _push(self, entry: Entry) -> None:
        entry.since = asyncio.get_running_loop().time()
        heapq.heappush(self._heap, (entry.message.priority, entry.order, entry))
        self._ready()
