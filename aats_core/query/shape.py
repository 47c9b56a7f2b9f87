"""Tells filters apart by their shape, so that a store compiles each shape once and only binds the values.

Two filters of one shape differ in nothing but strings, numbers, dates, and lists of strings or integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from aats_core.query.filters import And, Clause, Compare, ElemMatch, In, Not, Or, Slot
from aats_core.query.parse_filter import parse_filter
from aats_core.query.values import DATE, NUMBER, STRING

T = TypeVar("T")
Key: TypeAlias = tuple[Any, ...]

EXACT_INT = 2**53
"""Up to here a 64-bit float holds every integer; a larger one never becomes a slot."""

_MOST_SHAPES = 2000
_KINDS: dict[type, int] = {str: STRING, int: NUMBER, float: NUMBER, datetime: DATE}
_COMPARISONS = frozenset({"$eq", "$ne", "$gt", "$gte", "$lt", "$lte"})
_JUNCTIONS = frozenset({"$and", "$or", "$nor"})
_MEMBERSHIPS = frozenset({"$in", "$nin"})
_NESTED = frozenset({"$not", "$elemMatch"})
_CONSTANTS = frozenset({str, bool, int, float, type(None)})


class _NoShape(Exception):
    """The filter holds something that is no slot and no constant."""


class Prepared(Generic[T]):
    """Compiles filters, each shape of them once."""

    def __init__(self, compile: Callable[[Clause], T]) -> None:
        self._compile = compile
        self._known: dict[Key, T] = {}

    def get(self, filter: Mapping[str, Any]) -> tuple[T, Sequence[Any]]:
        """Return the compiled form of a filter and the values of its slots, in the order of their indexes.

        Raises `InvalidQuery` where the filter is not valid.
        """
        key: list[Any] = []
        values: list[Any] = []
        try:
            _visit(filter, key, values)
        except (_NoShape, TypeError, AttributeError):
            return self._compile(parse_filter(filter)), ()
        shape = tuple(key)
        compiled = self._known.get(shape)
        if compiled is None:
            compiled = self._compile(parse_filter(_with_slots(filter, [])))
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            self._known[shape] = compiled
        return compiled, values


def bound(clause: Clause, values: Sequence[Any]) -> Clause:
    """Return a clause with values in place of its slots."""
    if isinstance(clause, And | Or):
        return clause.__class__(tuple(bound(each, values) for each in clause.clauses))
    if isinstance(clause, Not | ElemMatch):
        return msgspec.structs.replace(clause, clause=bound(clause.clause, values))
    if isinstance(clause, Compare) and isinstance(clause.operand, Slot):
        return msgspec.structs.replace(clause, operand=values[clause.operand.index])
    if isinstance(clause, In) and isinstance(clause.operands, Slot):
        return msgspec.structs.replace(clause, operands=tuple(values[clause.operands.index]))
    return clause


def _visit(filter: Mapping[str, Any], key: list[Any], values: list[Any]) -> None:
    """Append what makes up the shape of a filter or of an object of operators to `key`, and its values to `values`."""
    for name, operand in filter.items():
        key.append(name)
        if not name.startswith("$") or name in _COMPARISONS:
            _visit_operand(operand, key, values, field=name[:1] != "$")
        elif name in _JUNCTIONS:
            key.append(len(operand))
            for each in operand:
                _visit(each, key, values)
                key.append("}")
        elif name in _MEMBERSHIPS:
            key.append(_kind_of_list(operand))
            values.append(operand)
        elif name in _NESTED:
            _visit(operand, key, values)
            key.append("}")
        else:
            key.append(_constant(operand))


def _visit_operand(operand: Any, key: list[Any], values: list[Any], *, field: bool) -> None:
    kind = operand.__class__
    if kind in _KINDS:
        if not _is_plain(operand):
            raise _NoShape
        key.append(_KINDS[kind])
        values.append(operand)
    elif operand is None or kind is bool:
        key.append((kind, operand))
    elif field and kind is dict and next(iter(operand), "").startswith("$"):
        key.append("{")
        _visit(operand, key, values)
        key.append("}")
    else:
        raise _NoShape


def _is_plain(value: object) -> bool:
    if isinstance(value, int):
        return -EXACT_INT <= value <= EXACT_INT
    return not isinstance(value, float) or not math.isnan(value)


def _kind_of_list(operand: Any) -> tuple[str, int]:
    if operand.__class__ is list and operand:
        kinds = {*map(type, operand)}
        if kinds == {str}:
            return ("list", STRING)
        if kinds == {int} and min(operand) >= -EXACT_INT and max(operand) <= EXACT_INT:
            return ("list", NUMBER)
    raise _NoShape


def _constant(operand: Any) -> tuple[Any, ...]:
    if operand.__class__ in _CONSTANTS:
        return (operand.__class__, operand)
    if operand.__class__ is list:
        return (list, *map(_constant, operand))
    raise _NoShape


def _with_slots(filter: Mapping[str, Any], slots: list[Slot]) -> dict[str, Any]:
    """Return a filter, or an object of operators, whose values are slots, counted as `_visit` does."""
    result: dict[str, Any] = {}
    for name, operand in filter.items():
        if operand.__class__ in _KINDS and (not name.startswith("$") or name in _COMPARISONS):
            result[name] = _slot(_KINDS[operand.__class__], slots)
        elif name in _JUNCTIONS:
            result[name] = [_with_slots(each, slots) for each in operand]
        elif name in _MEMBERSHIPS:
            result[name] = _slot(_kind_of_list(operand)[1], slots)
        elif operand.__class__ is dict and (name in _NESTED or not name.startswith("$")):
            result[name] = _with_slots(operand, slots)
        else:
            result[name] = operand
    return result


def _slot(kind: int, slots: list[Slot]) -> Slot:
    slots.append(Slot(len(slots), kind))
    return slots[-1]
