"""Where in its file each part of a plan stands, and the problems found there."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from operator import itemgetter

from aats_core.errors import Refused
from aats_core.plans.suggest import suggest

Where = tuple[str | int, ...]
"""The way from the top of a plan to one of its parts, such as `("tasks", "build", "needs", 0)`."""

Marks = dict[str | int, "tuple[int, Marks | None]"]
"""For each key or index of a mapping or list: its line, counted from one, and the marks of what it holds."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_MOST_PROBLEMS = 1000
_MOST_HINTS = 25


def dotted(where: Where) -> str:
    """Return the way as people write it: `tasks.build.needs[0]`, with `["a.b"]` for a name that is not plain."""
    parts: list[str] = []
    for step in where:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f'["{_shorten(step)}"]')
    return "".join(parts)


def _shorten(key: str) -> str:
    shown = key if len(key) <= 60 else f"{key[:57]}..."
    return shown.replace("\n", "\\n").replace('"', '\\"')


class Places:
    """Says where each part of a plan stands: file, line if the format has one, and the way of keys to it.

    `moved` holds parts that stand elsewhere in the file than in the plan, such as the tasks of a trace.
    """

    def __init__(self, source: str = "", marks: Callable[[], Marks] | None = None) -> None:
        self.source = source
        self.moved: Mapping[Where, Where] = {}
        self._find_marks = marks
        self._marks: Marks | None = None

    def line(self, where: Where) -> int:
        """Return the line of that part, or of the nearest part around it that is there; zero if there is none."""
        if self._marks is None:
            self._marks = self._find_marks() if self._find_marks else {}
        line, marks = 0, self._marks
        for step in self._resolve(where):
            found = marks.get(step)
            if found is None:
                break
            line, marks = found[0], found[1] or {}
        return line

    def describe(self, where: Where, line: int) -> str:
        """Return the place as a problem begins with it: `plan.yaml:14: tasks.build.needs[0]`."""
        file = f"{self.source}:{line}" if line else self.source
        return ": ".join(part for part in (file, dotted(self._resolve(where))) if part)

    def _resolve(self, where: Where) -> Where:
        return self.moved.get(where[:2], where[:2]) + where[2:] if self.moved else where


class Problems:
    """Collects everything that is wrong with a plan, each with its place."""

    def __init__(self, places: Places | None = None) -> None:
        self._places = places or Places()
        self._found: list[tuple[Where, str, int]] = []
        self._at: set[Where] = set()
        self._hints = _MOST_HINTS

    def add(self, where: Where, text: str, *, line: int = 0) -> None:
        """Note a problem; its line is looked up where it is not given."""
        self._found.append((where, text, line))
        self._at.add(where)

    def has(self, where: Where) -> bool:
        """Tell whether a problem of just that part has been noted, of which others may only be consequences."""
        return where in self._at

    def hint(self, word: str, known: Collection[str]) -> str:
        """Return a suggestion of what was meant, to end a problem with; empty when too many have been made."""
        if not self._hints:
            return ""
        self._hints -= 1
        return suggest(word, known)

    def lines(self) -> list[str]:
        """Return one line a problem, in the order of the file; a thousand at most, and one that counts the rest."""
        places = self._places
        found = sorted(
            ((line or places.line(where), where, text) for where, text, line in self._found), key=itemgetter(0)
        )
        lines = [_join(places.describe(where, line), text) for line, where, text in found[:_MOST_PROBLEMS]]
        if len(found) > _MOST_PROBLEMS:
            lines.append(f"and {len(found) - _MOST_PROBLEMS} further problems")
        return lines

    def refuse(self) -> None:
        """Raise `Refused` with every problem; does nothing when there is none."""
        if self._found:
            raise Refused(self.lines(), source=self._places.source)


def _join(place: str, text: str) -> str:
    return f"{place}: {text}" if place else text
