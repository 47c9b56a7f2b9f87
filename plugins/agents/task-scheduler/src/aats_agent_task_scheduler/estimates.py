"""How long tasks take: what was learned from those that ended, and what to assume of the others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec

Key: TypeAlias = tuple[str, str]
"""A task kind, and a task's name or label."""

WINDOW = 32
"""About how many of the latest run times a mean is made of."""

MOVED = 0.1
"""By what part a mean has to move to matter."""

LONG = 1.0
"""Seconds from which on it is worth knowing how a task differs from those that share its label."""

UNKNOWN = 1.0
"""Seconds assumed where nothing is known."""

_TRAILING_NUMBER = re.compile(r"(?:[\W_]*(?:id)?\d+)+$", re.IGNORECASE)


def label(name: str) -> str:
    """Return a task's name without the number at its end: what `mProject_ID0000001` has in common with its siblings.

    A name that is nothing but a number becomes `#`.
    """
    return _TRAILING_NUMBER.sub("", name) or "#"


class Duration(msgspec.Struct, frozen=True):
    """The mean run time in seconds of the tasks of a kind and name, over `count` runs.

    `name` may be a label, which stands for all names that differ from it in their number; empty, it stands for all
    tasks of the kind, and an empty kind for all tasks.
    """

    kind: str
    name: str
    mean: Annotated[float, msgspec.Meta(ge=0)]
    count: Annotated[int, msgspec.Meta(ge=1)]


class _Mean:
    __slots__ = ("count", "mark", "value")

    def __init__(self, value: float, count: int) -> None:
        self.value = self.mark = value
        self.count = count

    def add(self, seconds: float) -> bool:
        """Take in a run time, and tell whether the mean has moved since it last mattered."""
        self.count += 1
        self.value += (seconds - self.value) / min(self.count, WINDOW)
        moved = self.count == 1 or abs(self.value - self.mark) > MOVED * self.mark
        if moved:
            self.mark = self.value
        return moved


class Estimates:
    """Learns run times and says what to expect, in seconds.

    A task's own name is learned beside its label where tasks of that label differ and are long enough for it to
    matter. `version` grows when an estimate has changed enough to matter. At most `limit` means are kept, those
    learned latest.
    """

    def __init__(self, known: Iterable[Duration] = (), *, limit: int = 20_000) -> None:
        self.version = 0
        self.limit = limit
        self._means: dict[Key, _Mean] = {}
        self._changed: set[Key] = set()
        self.load(known)

    def load(self, known: Iterable[Duration]) -> None:
        """Take over what was learned earlier, oldest first, without forgetting what has been learned since."""
        for duration in known:
            self._means.setdefault((duration.kind, duration.name), _Mean(duration.mean, duration.count))
        self.version += 1

    def of(self, kind: str, name: str, label: str, hint: float | None = None) -> float:
        """Return the mean of that name, or of its label; else the hint; else the mean of the kind, of all, or 1.0."""
        means = self._means
        mean = means.get((kind, name)) or means.get((kind, label))
        if mean is not None:
            return mean.value
        if hint is not None:
            return hint
        mean = means.get((kind, "")) or means.get(("", ""))
        return UNKNOWN if mean is None else mean.value

    def learn(self, kind: str, name: str, label: str, seconds: float) -> None:
        """Take in how long a task ran; what is not a length of time is passed over."""
        if not 0 <= seconds < float("inf"):
            return
        if name != label and ((kind, name) in self._means or self._stands_out(kind, label, seconds)):
            self._add((kind, name), seconds)
        for key in ((kind, label), (kind, ""), ("", "")):
            self._add(key, seconds)
        while len(self._means) > self.limit:
            del self._means[next(iter(self._means))]

    @property
    def dirty(self) -> bool:
        """Whether `changed` has something to return."""
        return bool(self._changed)

    def changed(self) -> list[Duration]:
        """Return what has been learned since the last call."""
        keys = [key for key in self._changed if key in self._means]
        self._changed.clear()
        return self._durations(keys)

    def unsaved(self, durations: Iterable[Duration]) -> None:
        """Have those come again with the next `changed`."""
        self._changed.update((duration.kind, duration.name) for duration in durations)

    def durations(self) -> list[Duration]:
        """Return everything that is known."""
        return self._durations(self._means)

    def _stands_out(self, kind: str, label: str, seconds: float) -> bool:
        mean = self._means.get((kind, label))
        expected = seconds if mean is None else mean.value
        return max(seconds, expected) >= LONG and abs(seconds - expected) > MOVED * expected

    def _add(self, key: Key, seconds: float) -> None:
        mean = self._means.pop(key, None) or _Mean(0.0, 0)
        self._means[key] = mean  # at the end: the first of the dictionary is the one to forget
        self.version += mean.add(seconds)
        self._changed.add(key)

    def _durations(self, keys: Iterable[Key]) -> list[Duration]:
        return [Duration(*key, self._means[key].value, self._means[key].count) for key in keys]
