"""How long tasks take: what was learned from those that ended, and what to assume of the others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

Key: TypeAlias = tuple[str, str]
"""A task kind, and a task name without its trailing number."""

WINDOW = 32
"""About how many of the latest run times a mean is made of."""

MOVED = 0.1
"""By what part a mean has to move before plans are ranked anew."""

UNKNOWN = 1.0
"""Seconds assumed where nothing is known."""

_TRAILING_NUMBER = re.compile(r"(?:[\W_]*(?:id)?\d+)+$", re.IGNORECASE)


def label(name: str) -> str:
    """Return a task's name without the number at its end, so that `mProject_ID0000001` shares what its siblings taught.

    A name that is nothing but a number becomes `#`.
    """
    return _TRAILING_NUMBER.sub("", name) or "#"


class Duration(msgspec.Struct, frozen=True):
    """The mean run time in seconds of a kind and label, over `count` runs.

    An empty label stands for all tasks of the kind, an empty kind for all tasks.
    """

    kind: str
    label: str
    mean: float
    count: int


class _Mean:
    __slots__ = ("count", "mark", "value")

    def __init__(self, value: float, count: int) -> None:
        self.value = self.mark = value
        self.count = count

    def add(self, seconds: float) -> bool:
        self.count += 1
        self.value += (seconds - self.value) / min(self.count, WINDOW)
        moved = self.count == 1 or abs(self.value - self.mark) > MOVED * self.mark
        if moved:
            self.mark = self.value
        return moved


class Estimates:
    """Learns run times and says what to expect, in seconds.

    `version` grows when an estimate has changed enough to matter. At most `limit` means are kept, those learned
    latest.
    """

    def __init__(self, known: Iterable[Duration] = (), *, limit: int = 10_000) -> None:
        self.version = 0
        self.limit = limit
        self._means: dict[Key, _Mean] = {}
        self._changed: set[Key] = set()
        self.load(known)

    def load(self, known: Iterable[Duration]) -> None:
        """Take over what was learned earlier, without forgetting what has been learned since."""
        for duration in known:
            self._means.setdefault((duration.kind, duration.label), _Mean(duration.mean, duration.count))
        self.version += 1

    def of(self, key: Key, hint: float | None = None) -> float:
        """Return the mean of that kind and label; else the hint; else the mean of the kind, of everything, or 1.0."""
        means = self._means
        mean = means.get(key)
        if mean is not None:
            return mean.value
        if hint is not None:
            return hint
        mean = means.get((key[0], "")) or means.get(("", ""))
        return UNKNOWN if mean is None else mean.value

    def learn(self, key: Key, seconds: float) -> None:
        """Take in how long one task ran; what is not a length of time is passed over."""
        if not 0 <= seconds < float("inf"):
            return
        for each in (key, (key[0], ""), ("", "")):
            mean = self._means.pop(each, None) or _Mean(0.0, 0)
            self._means[each] = mean  # at the end: the first of the dictionary is the one to forget
            self.version += mean.add(seconds)
            self._changed.add(each)
        while len(self._means) > self.limit:
            del self._means[next(iter(self._means))]

    def changed(self) -> list[Duration]:
        """Return what has been learned since the last call."""
        found = [(key, self._means[key]) for key in self._changed if key in self._means]
        self._changed.clear()
        return [Duration(kind, label, mean.value, mean.count) for (kind, label), mean in found]

    def unsaved(self, durations: Iterable[Duration]) -> None:
        """Have those come again with the next `changed`."""
        self._changed.update((duration.kind, duration.label) for duration in durations)

    def durations(self) -> list[Duration]:
        """Return everything that is known."""
        return [Duration(kind, label, mean.value, mean.count) for (kind, label), mean in self._means.items()]
