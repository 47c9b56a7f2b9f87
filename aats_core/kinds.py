"""The task kinds that somebody in the team can run: what a plan may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class TaskKinds:
    """A set of names that only grows: a worker that is away for a while does not make a plan invalid."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        """Take in the kinds that a worker offers."""
        self._names.update(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)
