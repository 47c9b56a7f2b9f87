"""SQL for one condition on one value, whose key, type and stored value are given as expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.query.filters import Clause, Compare, Comparison, HasType, In, Matches, Modulo, OneValue, Slot
from aats_core.query.match import values_of
from aats_core.query.shape import EXACT_INT
from aats_core.query.values import ARRAY as ARRAY_RANK
from aats_core.query.values import NULL, NUMBER, STRING, is_nan, rank
from aats_core.query.values import OBJECT as OBJECT_RANK
from aats_core.storage.clauses import prefix_of
from aats_core.storage.stored_form import MARK
from aats_store_sqlite.bindings import Bindings
from aats_store_sqlite.codec import BINARY, BOOLEAN, DATE, NAN, OBJECT, scalar_key

_NEVER = "FALSE"
_RANGES = {
    STRING: ("", OBJECT),
    rank(b""): (BINARY, BOOLEAN),
    rank(True): (BOOLEAN, DATE),  # noqa: FBT003 - a value, not an option
    rank(datetime.min): (DATE, MARK + "y"),
}
"""Between which keys those of a class of values lie."""


class Target(msgspec.Struct, frozen=True):
    """A value within a row: expressions of its key, its JSON type and its stored value, and how to ask Python of it."""

    key: str
    kind: str
    value: str
    ask: Callable[[Clause], str]


def compare(clause: Compare, target: Target, bindings: Bindings) -> str:
    """Return whether a value that is no array compares so with the operand."""
    operand = clause.operand
    kind = operand.kind if isinstance(operand, Slot) else rank(operand)
    if kind == NULL:
        return f"{target.key} IS NULL" if _includes_equal(clause.comparison) else _NEVER
    if kind == NUMBER:
        return _compare_number(clause, target, bindings)
    if kind == OBJECT_RANK:
        return f"{target.key} = '{OBJECT}' AND {target.ask(clause)}"
    if kind == ARRAY_RANK:
        return _NEVER
    return _compare_key(clause.comparison, target.key, bindings.parameter(operand, scalar_key), *_RANGES[kind])


def _includes_equal(comparison: Comparison) -> bool:
    return comparison not in (Comparison.GT, Comparison.LT)


def _compare_key(comparison: Comparison, key: str, parameter: str, least: str, beyond: str) -> str:
    if comparison is Comparison.EQ:
        return f"{key} = {parameter}"
    sign = _SIGNS[comparison]
    if comparison in (Comparison.GT, Comparison.GTE):
        return f"{key} {sign} {parameter} AND {key} < '{beyond}'"
    return f"{key} {sign} {parameter} AND {key} >= '{least}'"


_SIGNS = {Comparison.GT: ">", Comparison.GTE: ">=", Comparison.LT: "<", Comparison.LTE: "<="}


def _compare_number(clause: Compare, target: Target, bindings: Bindings) -> str:
    """Return a comparison by key, made exact where a decimal's key is only the float nearest to it."""
    operand, comparison, key = clause.operand, clause.comparison, target.key
    if not isinstance(operand, Slot):
        if is_nan(operand):
            return f"{key} = -9e999 AND {target.ask(clause)}" if _includes_equal(comparison) else _NEVER
        if not is_exact(operand):
            return f"{_near(comparison, operand, key, bindings)} AND {target.ask(clause)}"
    parameter = bindings.parameter(operand, itself)
    rest = f"CASE {target.kind} WHEN 'text' THEN {target.ask(clause)} ELSE {{}} END"
    if comparison is Comparison.EQ:
        return f"{key} = {parameter} AND {rest.format('TRUE')}"
    exactly = rest.format(f"{key} {_SIGNS[comparison]} {parameter}")
    if comparison in (Comparison.GT, Comparison.GTE):
        return f"{key} >= {parameter} AND {key} < '' AND {exactly}"
    return f"{key} <= {parameter} AND {exactly}"


def itself(value: Any) -> Any:
    """Return the value."""
    return value


def is_exact(number: Any) -> bool:
    """Tell whether a number, if it is not NaN, is a float or as good as one, so that keys compare with it exactly."""
    return number.__class__ is float or (number.__class__ is int and -EXACT_INT <= number <= EXACT_INT)


def _near(comparison: Comparison, operand: int | Decimal, key: str, bindings: Bindings) -> str:
    """Return whether a key lies where that of a number that compares so with the operand may lie."""
    nearest = float(operand)
    least, most = math.nextafter(nearest, -math.inf), math.nextafter(nearest, math.inf)
    bounds = []
    if comparison not in (Comparison.LT, Comparison.LTE):
        bounds.append(f"{key} >= {bindings.parameter(least, itself)} AND {key} < ''")
    if comparison not in (Comparison.GT, Comparison.GTE):
        bounds.append(f"{key} <= {bindings.parameter(most, itself)}")
    return " AND ".join(bounds)


def membership(clause: In, target: Target, bindings: Bindings) -> str:
    """Return whether a value that is no array is one of those of a list or matches one of its patterns."""
    if isinstance(clause.operands, Slot):
        listed = f"{target.key} IN (SELECT value FROM json_each({bindings.parameter(clause.operands, key_list)}))"
        if clause.operands.kind == NUMBER:
            return f"{listed} AND CASE {target.kind} WHEN 'text' THEN {target.ask(clause)} ELSE TRUE END"
        return listed
    parts: list[OneValue] = [Compare(clause.path, Comparison.EQ, value) for value in values_of(clause)]
    parts += [Matches(clause.path, pattern) for pattern in clause.patterns]
    return " OR ".join(f"({condition(part, target, bindings)})" for part in parts) or _NEVER


def key_list(values: Sequence[Any]) -> str:
    """Return the keys of strings or integers as a JSON array."""
    return msgspec.json.encode([scalar_key(value) for value in values]).decode()


def has_type(clause: HasType, target: Target, bindings: Bindings) -> str:
    """Return whether a value that is no array is of one of the types."""
    del bindings
    return " OR ".join(f"({_of_type(name, target)})" for name in sorted(clause.types))


def _of_type(name: str, target: Target) -> str:
    key, kind, value = target.key, target.kind, target.value
    small = f"{value} BETWEEN -2147483648 AND 2147483647"
    return {
        "null": f"{kind} = 'null'",
        "int": f"{kind} = 'integer' AND {small}",
        "long": f"{kind} = 'integer' AND NOT {small}",
        "double": f"{kind} = 'real' OR ({kind} = 'text' AND {value} = '{NAN}f')",
        "decimal": f"{kind} = 'text' AND {value} > '{NAN}' AND {key} < '' AND {value} <> '{NAN}f'",
        "string": f"{key} >= '' AND {key} < '{OBJECT}'",
        "object": f"{key} = '{OBJECT}'",
        "array": _NEVER,
        "binData": f"{key} >= '{BINARY}' AND {key} < '{BOOLEAN}'",
        "bool": f"{key} >= '{BOOLEAN}' AND {key} < '{DATE}'",
        "date": f"{key} >= '{DATE}'",
    }[name]


def matches(clause: Matches, target: Target, bindings: Bindings) -> str:
    """Return whether a string holds what the pattern describes, in the range of its prefix where it has one."""
    prefix = prefix_of(clause.pattern)
    if prefix is None:
        return f"{target.key} >= '' AND {target.key} < '{OBJECT}' AND {target.ask(clause)}"
    least = bindings.parameter(prefix[0], itself)
    beyond = bindings.parameter(prefix[0] + MARK, itself)
    return f"{target.key} >= {least} AND {target.key} < {beyond} AND {target.ask(clause)}"


def modulo(clause: Modulo, target: Target, bindings: Bindings) -> str:
    """Return whether a number has that remainder."""
    divisor, remainder = bindings.parameter(clause.divisor, itself), bindings.parameter(clause.remainder, itself)
    return (
        f"{target.key} < '' AND CASE {target.kind} WHEN 'integer' THEN {target.value} % {divisor} = {remainder}"
        f" ELSE {target.ask(clause)} END"
    )


_CONDITIONS: dict[type, Callable[[Any, Target, Bindings], str]] = {
    Compare: compare,
    In: membership,
    HasType: has_type,
    Matches: matches,
    Modulo: modulo,
}


def condition(clause: OneValue, target: Target, bindings: Bindings) -> str:
    """Return whether a value that is no array fulfils a clause about one value."""
    return _CONDITIONS[clause.__class__](clause, target, bindings)
