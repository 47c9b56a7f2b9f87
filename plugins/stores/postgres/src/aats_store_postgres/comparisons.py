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
from aats_store_postgres.expressions import ARRAY, FALSE, LENGTH, NULL, NUMBER, OBJECT, STRING, TRUE, Target
from aats_store_postgres.identity import LETTERS, NAN

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
    if kind in (values.STRING, values.BINARY, values.DATE):
        return exactly(_compare_text(clause, target, LETTERS[kind], bindings))
    if kind == values.BOOLEAN:
        own = TRUE if operand else FALSE
        return exactly(f"{target.key} BETWEEN '{FALSE}' AND '{TRUE}' AND {target.key} {_SIGNS[comparison]} '{own}'")
    if kind == values.NULL:
        return exactly(f"{target.key} = '{NULL}'") if _includes_equal(comparison) else NEVER
    return perhaps(f"{target.key} = '{OBJECT}'") if kind == values.OBJECT else NEVER


def _includes_equal(comparison: Comparison) -> bool:
    return comparison not in (Comparison.GT, Comparison.LT)


def _compare_number(clause: Compare, target: Target, bindings: Bindings) -> Bounds:
    if not isinstance(clause.operand, Slot) and is_nan(clause.operand):
        return exactly(f"{target.key} = '{NAN}'") if _includes_equal(clause.comparison) else NEVER
    sign = _SIGNS[clause.comparison]
    parameter = bindings.parameter(clause.operand, numeric, "numeric")
    return exactly(f"{target.number} {sign} {parameter} AND {target.key} = '{NUMBER}'")


def numeric(number: float | Decimal) -> Decimal:
    """Return a number as it compares in the stored form: a float by the digits that it is written with."""
    if isinstance(number, float) and -EXACT < number < EXACT:
        return Decimal(repr(number))
    return Decimal(number)


def _compare_text(clause: Compare, target: Target, letter: str, bindings: Bindings) -> str:
    """Return a comparison of the whole text, which is quick, and of the key, which an index holds.

    Where there is no index, PostgreSQL looks at the parts in this order for every document.
    """
    comparison = clause.comparison
    full = f"{target.full} {_SIGNS[comparison]} {bindings.parameter(clause.operand, text_of, 'text')}"
    key = f"{target.key} {_INCLUSIVE[comparison]} {bindings.parameter(clause.operand, key_of, 'text')}"
    if comparison is Comparison.EQ:
        return f"{full} AND {key}"
    if comparison in (Comparison.GT, Comparison.GTE):
        return f"{full} AND {key} AND {target.key} < '{beyond(letter)}'"
    return f"{full} AND {key} AND {target.key} >= '{letter}'"


def beyond(text: str) -> str:
    """Return the least text after all that begin with one."""
    return text[:-1] + chr(ord(text[-1]) + 1)


def text_of(value: Any) -> str:
    """Return the text that a string, a date or binary data is stored as."""
    if value.__class__ is str and value.isprintable():
        return str(value)
    text: str = stored(normal(value))
    return text


def key_of(value: Any) -> str:
    """Return the key of a string, a date or of binary data."""
    text, kind = text_of(value), rank(value)
    return STRING + text[:LENGTH] if kind == values.STRING else text[1 : LENGTH + 1]


def membership(clause: In, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a value is one of a list or matches one of its patterns."""
    operands = clause.operands
    if not isinstance(operands, Slot):
        equal: list[OneValue] = [Compare(clause.path, Comparison.EQ, value) for value in values_of(clause)]
        equal += [Matches(clause.path, pattern) for pattern in clause.patterns]
        return any_of([condition(each, target, bindings) for each in equal])
    if operands.kind == values.NUMBER:
        listed = bindings.parameter(operands, _numerics, "numeric[]")
        return exactly(f"{target.number} = ANY({listed}) AND {target.key} = '{NUMBER}'")
    full = bindings.parameter(operands, _texts, "text[]")
    keys = bindings.parameter(operands, _keys, "text[]")
    return exactly(f"{target.full} = ANY({full}) AND {target.key} = ANY({keys})")


def _numerics(numbers: Sequence[int]) -> list[Decimal]:
    return [numeric(each) for each in numbers]


def _texts(texts: Sequence[str]) -> list[str]:
    return [text_of(each) for each in texts]


def _keys(texts: Sequence[str]) -> list[str]:
    return [key_of(each) for each in texts]


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
        "string": _begins(target.key, STRING),
        "object": f"{target.key} = '{OBJECT}'",
        "array": "FALSE",
        "binData": _begins(target.key, LETTERS[values.BINARY]),
        "bool": f"{target.key} BETWEEN '{FALSE}' AND '{TRUE}'",
        "date": _begins(target.key, LETTERS[values.DATE]),
    }[name]


def _begins(key: str, letter: str) -> str:
    return f"{key} >= '{letter}' AND {key} < '{beyond(letter)}'"


def matches(clause: Matches, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a string holds what the pattern describes: exactly where that is a prefix and nothing else.

    Otherwise PostgreSQL finds the strings, those with the prefix that the pattern begins with, and Python decides.
    """
    prefix = prefix_of(clause.pattern)
    if prefix is None:
        return perhaps(_begins(target.key, STRING))
    begin, is_all = prefix
    found = STRING + begin[:LENGTH]
    least, most = (bindings.parameter(each, str, "text") for each in (found, beyond(found)))
    sql = f"{target.key} >= {least} AND {target.key} < {most}"
    if is_all:
        return exactly(f"{sql} AND starts_with({target.text}, {bindings.parameter(begin, str, 'text')})")
    return perhaps(sql)


def modulo(clause: Modulo, target: Target, bindings: Bindings) -> Bounds:
    """Return whether a number has that remainder."""
    divisor = bindings.parameter(clause.divisor, Decimal, "numeric")
    remainder = bindings.parameter(clause.remainder, Decimal, "numeric")
    return exactly(f"{target.key} = '{NUMBER}' AND trunc({target.number}) % {divisor} = {remainder}")


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
    return f"{target.key} = '{ARRAY}'"
