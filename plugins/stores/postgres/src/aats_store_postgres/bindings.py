"""What a compiled filter is: SQL for the documents that may match, and what to bind to its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from aats_core.query.filters import Slot

Convert: TypeAlias = Callable[[Any], Any]
Binder: TypeAlias = tuple[int, Any]

TEXT_INDEX = "\3text\3"
"""Stands in the SQL of a filter for the expression of the collection's full-text index."""

_TOKEN = re.compile("\2(\\d+):(\\w+(?:\\[\\])?)\2")
_NO_SLOT = -1


class Bounds(msgspec.Struct, frozen=True):
    """A clause in SQL: what holds at least for all that match it, and what holds at most for these.

    Where both are the same, the SQL says exactly what the clause means.
    """

    maybe: str
    surely: str


def exactly(sql: str) -> Bounds:
    """Return a clause that SQL says exactly."""
    return Bounds(sql, sql)


def perhaps(sql: str) -> Bounds:
    """Return a clause of which SQL only knows what has to hold."""
    return Bounds(sql, "FALSE")


NEVER, ALWAYS, UNKNOWN = exactly("FALSE"), exactly("TRUE"), perhaps("TRUE")


class Condition(msgspec.Struct, frozen=True):
    """A compiled filter: SQL with parameters, what to bind to each, and whether all that it finds matches.

    `surely` tells of what it finds whether it matches for certain; its parameters go on after those of `sql`.
    """

    sql: str
    surely: str
    binders: tuple[Binder, ...]
    more: tuple[Binder, ...]
    exact: bool
    searches: bool

    def parameters(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return what to bind, given the values of the slots."""
        return tuple([convert(values[index]) if index >= 0 else convert for index, convert in self.binders])

    def more_parameters(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return what to bind beside these where `surely` is asked too."""
        return tuple([convert(values[index]) if index >= 0 else convert for index, convert in self.more])


class Bindings:
    """Hands out parameters while a filter is compiled; they are numbered in the end, when it is known which remain."""

    def __init__(self) -> None:
        self._binders: list[Binder] = []

    def parameter(self, operand: Any, convert: Convert, kind: str) -> str:
        """Return the parameter of a slot, or of a value, converted so to that type of PostgreSQL."""
        binder = (operand.index, convert) if isinstance(operand, Slot) else (_NO_SLOT, convert(operand))
        self._binders.append(binder)
        return f"\2{len(self._binders) - 1}:{kind}\2"

    def condition(self, bounds: Bounds) -> Condition:
        """Return the finished filter."""
        numbers: dict[int, int] = {}

        def number(found: re.Match[str]) -> str:
            return f"${numbers.setdefault(int(found[1]), len(numbers) + 1)}::{found[2]}"

        sql = _TOKEN.sub(number, bounds.maybe)
        first = len(numbers)
        surely = _TOKEN.sub(number, bounds.surely)
        binders = tuple(self._binders[token] for token in numbers)
        exact = bounds.maybe == bounds.surely
        return Condition(sql, surely, binders[:first], binders[first:], exact, TEXT_INDEX in sql)
