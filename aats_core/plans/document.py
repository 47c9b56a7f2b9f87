"""What the text of a plan file decodes to, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aats_core.plans.place import Marks, Where

MAX_DEPTH = 100
"""How deeply mappings and lists may be nested."""


class Malformed(ValueError):
    """The text is not of its format; `line` counts from one, zero if it is not known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that a mapping has already: its way, its line, and the line in which it stood before."""

    where: Where
    line: int
    first: int


@dataclass(frozen=True, slots=True)
class Document:
    """A decoded file: its value, where its parts stand, and the keys that a mapping has twice."""

    value: Any
    marks: Callable[[], Marks] | None = None
    duplicates: Sequence[Duplicate] = ()
