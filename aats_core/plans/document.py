"""What the text of a plan file decodes to, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from aats_core.plans.place import Marks, Where

MAX_DEPTH = 100
"""How deeply mappings and lists may be nested."""


class Malformed(ValueError):
    """The text is not of its format; `line` counts from one, zero if it is not known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Former(str):
    """The key under which a mapping keeps what it held before the same key came again.

    It reads like that key, and equals only the same `number` of it, so that what it holds is looked at too.
    """

    number: int

    def __new__(cls, key: str, number: int) -> Self:
        """Make the key; a mapping has each number once."""
        self = super().__new__(cls, key)
        self.number = number
        return self

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same key."""
        return isinstance(other, Former) and self.number == other.number and str.__eq__(self, other)

    def __hash__(self) -> int:
        """Return a number that equal keys have in common."""
        return hash((str(self), self.number))


def keep_former(mapping: dict[Any, Any], key: Any) -> None:
    """Make room in a mapping for what a key holds from now on, and keep what it held."""
    mapping[Former(key, len(mapping))] = mapping.pop(key)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that a mapping has already: its way, its line, and the line in which it stood before."""

    where: Where
    line: int
    first: int


@dataclass(frozen=True, slots=True)
class Document:
    """A decoded file: its value, where its parts stand, and the keys that a mapping has twice.

    Of such a key the mapping holds the last value, and each former one under a `Former`.
    """

    value: Any
    marks: Callable[[], Marks] | None = None
    duplicates: Sequence[Duplicate] = ()
