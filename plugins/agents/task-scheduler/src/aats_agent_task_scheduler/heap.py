"""A heap whose items' keys change while they lie in it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_SPARE = 16


class LazyHeap(Generic[T]):
    """Gives the item with the smallest key, where keys are worked out anew when an item comes to the top.

    A key may grow, or become None (the item leaves), without a word; whoever makes a key smaller or brings
    an item in calls `update`. Every operation costs the logarithm of the number of items, amortised.
    """

    __slots__ = ("_count", "_heap", "_key", "_known")

    def __init__(self, key: Callable[[T], Any]) -> None:
        self._key = key
        self._heap: list[tuple[Any, int, T]] = []
        self._known: dict[T, Any] = {}  # the key of each item's one valid entry
        self._count = itertools.count()

    def __iter__(self) -> Iterator[T]:
        """Yield every item, in no order; some may have a key of None."""
        return iter(self._known)

    def update(self, item: T) -> None:
        """Take notice of an item that is new, or whose key may have become smaller."""
        key = self._key(item)
        if key is None:
            return
        known = self._known.get(item)
        if known is None or key < known:
            self._push(key, item)

    def discard(self, item: T) -> None:
        """Take an item out, if it is in."""
        self._known.pop(item, None)

    def bound(self) -> Any:
        """Return a key that no item's is smaller than, without working any out; None where there is no item."""
        return self._heap[0][0] if self._heap else None

    def first(self) -> tuple[Any, T] | None:
        """Return the smallest key and its item, or None where no item has a key."""
        known = self._known
        while self._heap:
            key, _, item = self._heap[0]
            if known.get(item) is not key:
                heapq.heappop(self._heap)
                continue
            current = self._key(item)
            if current == key:
                return key, item
            heapq.heappop(self._heap)
            if current is None:
                del known[item]
            else:
                self._push(current, item)
        return None

    def first_that(self, fits: Callable[[T], bool]) -> T | None:
        """Return the item with the smallest key among those that fit, or None."""
        passed = []
        top = self.first()
        while top is not None and not fits(top[1]):
            passed.append(heapq.heappop(self._heap))
            top = self.first()
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return None if top is None else top[1]

    def _push(self, key: Any, item: T) -> None:
        self._known[item] = key
        heapq.heappush(self._heap, (key, next(self._count), item))
        if len(self._heap) > 2 * len(self._known) + _SPARE:
            self._heap = [entry for entry in self._heap if self._known.get(entry[2]) is entry[0]]
            heapq.heapify(self._heap)
