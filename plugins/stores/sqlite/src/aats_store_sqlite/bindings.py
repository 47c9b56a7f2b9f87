"""What a compiled filter binds: the values of its slots as they are stored, and the tests that Python answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import apsw
import msgspec

from aats_core.query import Clause, matcher
from aats_core.query.filters import Slot
from aats_core.query.shape import bound
from aats_store_sqlite.codec import decode, restored

Convert: TypeAlias = Callable[[Any], Any]

_NO_SLOT = -1


class Tests:
    """The conditions of one query that are evaluated in Python, each built when the first row needs it."""

    __slots__ = ("_built", "_clauses", "_values")

    def __init__(self, clauses: Sequence[Clause], values: Sequence[Any]) -> None:
        self._clauses = clauses
        self._values = values
        self._built: dict[int, Callable[[Any], bool]] = {}

    def holds(self, number: int, value: Any) -> bool:
        """Tell whether a value fulfils a condition."""
        test = self._built.get(number)
        if test is None:
            test = self._built[number] = matcher(bound(self._clauses[number], self._values))
        return test(value)


def register(connection: apsw.Connection) -> None:
    """Make known the functions that compiled filters call."""
    connection.create_scalar_function("aats_match", _match, 3)
    connection.create_scalar_function("aats_value", _match_value, 4)
    connection.create_scalar_function("aats_rest", _rest, 1)


def _match(*arguments: Any) -> bool:
    document, tests, number = arguments
    holds: bool = tests.holds(number, decode(document))
    return holds


def _match_value(*arguments: Any) -> bool:
    kind, value, tests, number = arguments
    holds: bool = tests.holds(number, from_row(kind, value))
    return holds


def _rest(*arguments: Any) -> float | None:
    """Return by how much a decimal differs from the number that its key is."""
    number = restored(arguments[0])
    if number != number:
        return None
    key = Decimal(arguments[0][2:].partition(" ")[0].replace("9e999", "Infinity"))
    return 0.0 if number == key else float(number - key)


def from_row(kind: str, value: Any) -> Any:
    """Return the value of an element, given its JSON type and what SQLite makes of it."""
    if kind in ("true", "false"):
        return kind == "true"
    if kind in ("object", "array"):
        return decode(value)
    return restored(value)


TEXT_TABLE = "aats_text_index"
"""Stands in the SQL of a filter for the table of the collection's full-text index."""


class Condition(msgspec.Struct, frozen=True):
    """A compiled filter: SQL with numbered parameters, what to bind to each, and whether it searches `TEXT_TABLE`."""

    sql: str
    binders: tuple[tuple[int, Any], ...]
    tests: tuple[Clause, ...]
    searches: bool

    def parameters(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return what to bind, given the values of the slots."""
        found = [convert(values[index]) if index >= 0 else convert for index, convert in self.binders]
        if self.tests:
            found[0] = apsw.pyobject(Tests(self.tests, values))
        return tuple(found)


class Bindings:
    """Numbers the parameters of a filter while it is compiled; the first is that of the tests."""

    def __init__(self) -> None:
        self._binders: list[tuple[int, Any]] = [(_NO_SLOT, None)]
        self._tests: list[Clause] = []
        self.searches = False

    def parameter(self, operand: Any, convert: Convert) -> str:
        """Return the parameter of a slot, or of a value, converted so."""
        binder = (operand.index, convert) if isinstance(operand, Slot) else (_NO_SLOT, convert(operand))
        self._binders.append(binder)
        return f"?{len(self._binders)}"

    def test(self, clause: Clause) -> str:
        """Return the arguments by which a function asks whether a clause holds."""
        if clause not in self._tests:
            self._tests.append(clause)
        return f"?1, {self._tests.index(clause)}"

    def condition(self, sql: str) -> Condition:
        """Return the finished filter."""
        binders = tuple(self._binders) if self._tests or len(self._binders) > 1 else ()
        return Condition(sql, binders, tuple(self._tests), self.searches)
