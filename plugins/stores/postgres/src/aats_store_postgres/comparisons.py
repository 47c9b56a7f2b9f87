"""SQL for one condition on one value that is no array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from aats_core.query import values
from aats_core.query.filters import Compare, Comparison, HasType, In, Matches, Modulo, OneValue, Slot
from aats_core.query.match import values_of
from aats_core.query.values import is_nan, normal, rank
from aats_core.storage.clauses import prefix_of
from aats_core.storage.stored_form import MARK
from aats_store_postgres.bindings import ALWAYS, NEVER, Bindings, Bounds, exactly, perhaps
from aats_store_postgres.codec import EXACT, stored
from aats_store_postgres.expressions import (
    ARRAY,
    BYTES,
    CLASSES,
    FALSE,
    LENGTH,
    NAN,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    TIME,
    TRUE,
    Target,
)

_SIGNS = {
    Comparison.EQ: "=",
    Comparison.GT: ">",
    Comparison.GTE: ">=",
    Comparison.LT: "<",
    Comparison.LTE: "<=",
}
_INCLUSIVE = {**_SIGNS, Comparison.GT: ">=", Comparison.LT: "<="}


def any_of(parts: Sequence[Bounds]) -> Bounds:
    """Return the clause that one of several holds."""
    if not parts:
        return NEVER
    return Bounds(*(" OR ".join(f"({each})" for each in side) for side in _sides(parts)))


def all_of(parts: Sequence[Bounds]) -> Bounds:
    """Return the clause that all of several hold."""
    if not parts:
        return ALWAYS
    return Bounds(*(" AND ".join(f"({each})" for each in side) for side in _sides(parts)))


def negated(part: Bounds) -> Bounds:
    """Return the clause that another does not hold."""
    return Bounds(f"({part.surely}) IS NOT TRUE", f"({part.maybe}) IS NOT TRUE")


def _sides(parts: Sequence[Bounds]) -> tuple[list[str], list[str]]:
    return [part.maybe for part in parts], [part.surely for part in parts]


def kind_of(operand: Any) -> int:
    """Return the class of an operand, which may be a slot."""
    return operand.kind if isinstance(operand, Slot) else rank(operand)


def compare(clause: Compare, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a value compares so with the operand."""
    operand, comparison = clause.operand, clause.comparison
    kind = kind_of(operand)
    if kind == values.NUMBER:
        return _compare_number(clause, target, bindings)
    if kind in CLASSES:
        return exactly(_compare_text(clause, target, CLASSES[kind], bindings))
    if kind == values.BOOLEAN:
        own = TRUE if operand else FALSE
        return exactly(f"{target.kind} BETWEEN {FALSE} AND {TRUE} AND {target.kind} {_SIGNS[comparison]} {own}")
    if kind == values.NULL:
        return exactly(f"{target.kind} = {NULL}") if _includes_equal(comparison) else NEVER
    return perhaps(f"{target.kind} = {OBJECT}") if kind == values.OBJECT else NEVER


def _includes_equal(comparison: Comparison) -> bool:
    return comparison not in (Comparison.GT, Comparison.LT)


def _compare_number(clause: Compare, target: Target, bindings: Bindings) -> Bounds:
    if not isinstance(clause.operand, Slot) and is_nan(clause.operand):
        return exactly(f"{target.kind} = {NAN}") if _includes_equal(clause.comparison) else NEVER
    sign = _SIGNS[clause.comparison]
    parameter = bindings.parameter(clause.operand, numeric, "numeric")
    return exactly(f"{target.number} {sign} {parameter} AND {target.kind} = {NUMBER}")


def numeric(number: float | Decimal) -> Decimal:
    """Return a number as it compares in the stored form: a float by the digits that it is written with."""
    if isinstance(number, float) and -EXACT < number < EXACT:
        return Decimal(repr(number))
    return Decimal(number)


def _compare_text(clause: Compare, target: Target, own: int, bindings: Bindings) -> str:
    """Return a comparison of the whole text, which is quick, and of what an index holds.

    Where there is no index, PostgreSQL looks at the parts in this order for every document.
    """
    short = bindings.parameter(clause.operand, beginning_of, "text")
    full = bindings.parameter(clause.operand, text_of, "text")
    return (
        f"{target.full} {_SIGNS[clause.comparison]} {full} AND {target.kind} = {own}"
        f" AND {target.prefix} {_INCLUSIVE[clause.comparison]} {short}"
    )


def text_of(value: Any) -> str:
    """Return the text that a string, a date or binary data is stored as."""
    if value.__class__ is str and value.isprintable():
        return str(value)
    text: str = stored(normal(value))
    return text


def beginning_of(value: Any) -> str:
    """Return the beginning of the text that a value is stored as."""
    return text_of(value)[:LENGTH]


def membership(clause: In, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a value is one of a list or matches one of its patterns."""
    operands = clause.operands
    if not isinstance(operands, Slot):
        equal: list[OneValue] = [Compare(clause.path, Comparison.EQ, value) for value in values_of(clause)]
        equal += [Matches(clause.path, pattern) for pattern in clause.patterns]
        return any_of([condition(each, target, bindings) for each in equal])
    if operands.kind == values.NUMBER:
        listed = bindings.parameter(operands, _numerics, "numeric[]")
        return exactly(f"{target.number} = ANY({listed}) AND {target.kind} = {NUMBER}")
    short = bindings.parameter(operands, _prefixes, "text[]")
    full = bindings.parameter(operands, _texts, "text[]")
    return exactly(f"{target.full} = ANY({full}) AND {target.kind} = {STRING} AND {target.prefix} = ANY({short})")


def _numerics(numbers: Sequence[int]) -> list[Decimal]:
    return [numeric(each) for each in numbers]


def _texts(texts: Sequence[str]) -> list[str]:
    return [text_of(each) for each in texts]


def _prefixes(texts: Sequence[str]) -> list[str]:
    return [beginning_of(each) for each in texts]


def has_type(clause: HasType, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a value is of one of the types."""
    del bindings
    return exactly(" OR ".join(f"({_of_type(name, target)})" for name in sorted(clause.types)))


def _of_type(name: str, target: Target) -> str:
    json, text, is_number = target.json, target.text, f"jsonb_typeof({target.json}) = 'number'"
    small = f"{target.number} BETWEEN -2147483648 AND 2147483647"
    whole = f"{is_number} AND strpos({text}, '.') = 0"
    return {
        "null": f"jsonb_typeof({json}) = 'null'",
        "int": f"{whole} AND {small}",
        "long": f"{whole} AND NOT {small}",
        "double": f"{is_number} AND strpos({text}, '.') > 0 OR left({text}, 2) = '{MARK}i' OR {text} = '{MARK}ef'",
        "decimal": f"left({text}, 2) = '{MARK}n' OR {text} = '{MARK}ed'",
        "string": f"{target.kind} = {STRING}",
        "object": f"{target.kind} = {OBJECT}",
        "array": "FALSE",
        "binData": f"{target.kind} = {BYTES}",
        "bool": f"{target.kind} BETWEEN {FALSE} AND {TRUE}",
        "date": f"{target.kind} = {TIME}",
    }[name]


def matches(clause: Matches, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a string holds what the pattern describes: exactly where that is a prefix and nothing else.

    Otherwise PostgreSQL finds the strings, those with the prefix that the pattern begins with, and Python decides.
    """
    is_string = f"{target.kind} = {STRING}"
    prefix = prefix_of(clause.pattern)
    if prefix is None:
        return perhaps(is_string)
    begin, is_all = prefix
    found = begin[:LENGTH]
    least = bindings.parameter(found, str, "text")
    beyond = bindings.parameter(found[:-1] + chr(ord(found[-1]) + 1), str, "text")
    sql = f"{is_string} AND {target.prefix} >= {least} AND {target.prefix} < {beyond}"
    if is_all:
        return exactly(f"{sql} AND starts_with({target.text}, {bindings.parameter(begin, str, 'text')})")
    return perhaps(sql)


def modulo(clause: Modulo, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a number has that remainder."""
    divisor = bindings.parameter(clause.divisor, Decimal, "numeric")
    remainder = bindings.parameter(clause.remainder, Decimal, "numeric")
    return exactly(f"{target.kind} = {NUMBER} AND trunc({target.number}) % {divisor} = {remainder}")


_CONDITIONS: dict[type, Callable[[Any, Target, Bindings], Bounds]] = {
    Compare: compare,
    In: membership,
    HasType: has_type,
    Matches: matches,
    Modulo: modulo,
}


def condition(clause: OneValue, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a value fulfils a clause about one value; that it is no array is part of the answer."""
    return _CONDITIONS[clause.__class__](clause, target, bindings)


def is_array(target: Target) -> str:
    """Return whether a value is an array, or an array lies on the way to it."""
    return f"{target.kind} = {ARRAY}"
