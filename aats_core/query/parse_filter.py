"""Reads a filter into its parsed form, and says of everything that is wrong with it what and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aats_core.errors import InvalidDocument, InvalidQuery
from aats_core.query.filters import (
    And,
    Clause,
    Compare,
    Comparison,
    ElemMatch,
    Exists,
    HasSize,
    HasType,
    In,
    Matches,
    Modulo,
    Not,
    Or,
    Path,
    Slot,
    Text,
)
from aats_core.query.paths import parse_path
from aats_core.query.values import MAX_INT, MIN_INT, TYPE_CODES, TYPE_NAMES, normal

_OPTIONS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
_NUMERIC_TYPES = frozenset({"int", "long", "double", "decimal"})
_NEVER = Or(())


def parse_filter(filter: Mapping[str, Any], place: str = "filter") -> Clause:
    """Return the parsed form of a filter; raises `InvalidQuery` where it is not one."""
    if not isinstance(filter, Mapping):
        raise InvalidQuery(f"{place}: a filter is an object, not {filter!r}")
    return _all_of([_top_level(key, value, place) for key, value in filter.items()])


def parse_value(value: Any, place: str) -> Any:
    """Return an operand as stores keep it; raises `InvalidQuery` where none can hold it."""
    if value.__class__ is Slot:
        return value
    if isinstance(value, re.Pattern):
        raise InvalidQuery(f"{place}: a regular expression cannot stand here")
    try:
        return normal(value, place)
    except InvalidDocument as error:
        raise InvalidQuery(str(error)) from error


def is_operators(value: object) -> bool:
    """Tell whether an operand is an object of operators rather than a value; an empty object is a value."""
    if not isinstance(value, Mapping):
        return False
    first = next(iter(value), "")
    return isinstance(first, str) and first.startswith("$")


def parse_conditions(path: Path, operand: Any, place: str) -> Clause:
    """Return what the operand of a field says of that path: operators, a pattern, or a value to equal."""
    if is_operators(operand):
        return _operators(path, operand, place)
    if isinstance(operand, re.Pattern):
        return Matches(path, _checked(operand, place))
    return Compare(path, Comparison.EQ, parse_value(operand, place))


def _all_of(clauses: Sequence[Clause]) -> Clause:
    return clauses[0] if len(clauses) == 1 else And(tuple(clauses))


def _top_level(key: object, value: Any, place: str) -> Clause:
    where = f"{place}.{key}"
    if not isinstance(key, str):
        raise InvalidQuery(f"{where}: a field name is a string, not {key!r}")
    if not key.startswith("$"):
        return parse_conditions(parse_path(key, where), value, where)
    if key == "$and":
        return And(_filters(value, where))
    if key == "$or":
        return Or(_filters(value, where))
    if key == "$nor":
        return Not(Or(_filters(value, where)))
    if key == "$text":
        return _text(value, where)
    raise InvalidQuery(f"{where}: unknown operator {key}; here may stand a field, $and, $or, $nor or $text")


def _filters(value: object, place: str) -> tuple[Clause, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise InvalidQuery(f"{place}: takes an array of at least one filter, not {value!r}")
    return tuple(parse_filter(item, f"{place}.{index}") for index, item in enumerate(value))


def _operators(path: Path, operators: Mapping[str, Any], place: str) -> Clause:
    clauses = []
    for name, operand in operators.items():
        where = f"{place}.{name}"
        if name == "$options":
            if "$regex" not in operators:
                raise InvalidQuery(f"{where}: needs a $regex beside it")
            continue
        parse = _OPERATORS.get(name)
        if parse is None:
            raise InvalidQuery(f"{where}: unknown operator {name}; known are {', '.join(sorted(_OPERATORS))}")
        clauses.append(parse(path, operand, where) if name != "$regex" else _regex(path, operators, where))
    return _all_of(clauses)


def _comparison(comparison: Comparison) -> Callable[[Path, Any, str], Clause]:
    def parse(path: Path, operand: Any, place: str) -> Clause:
        return Compare(path, comparison, parse_value(operand, place))

    return parse


def _equal(path: Path, operand: Any, place: str) -> Clause:
    if isinstance(operand, re.Pattern):
        return Matches(path, _checked(operand, place))
    return Compare(path, Comparison.EQ, parse_value(operand, place))


def _unequal(path: Path, operand: Any, place: str) -> Clause:
    return Not(Compare(path, Comparison.EQ, parse_value(operand, place)))


def _in(path: Path, operand: Any, place: str) -> Clause:
    if operand.__class__ is Slot:
        return In(path, operand)
    values, patterns = [], []
    for index, item in enumerate(_array(operand, place)):
        if isinstance(item, re.Pattern):
            patterns.append(_checked(item, f"{place}.{index}"))
        else:
            values.append(parse_value(item, f"{place}.{index}"))
    return In(path, tuple(values), tuple(patterns))


def _not_in(path: Path, operand: Any, place: str) -> Clause:
    return Not(_in(path, operand, place))


def _not(path: Path, operand: Any, place: str) -> Clause:
    if not is_operators(operand) and not isinstance(operand, re.Pattern):
        raise InvalidQuery(f"{place}: takes an object of operators or a regular expression, not {operand!r}")
    return Not(parse_conditions(path, operand, place))


def _exists(path: Path, operand: Any, place: str) -> Clause:
    if operand.__class__ is not bool and operand not in (0, 1):
        raise InvalidQuery(f"{place}: takes true or false, not {operand!r}")
    return Exists(path) if operand else Not(Exists(path))


def _type(path: Path, operand: Any, place: str) -> Clause:
    wanted = operand if isinstance(operand, list | tuple) else [operand]
    if not wanted:
        raise InvalidQuery(f"{place}: takes at least one type")
    types: set[str] = set()
    for item in wanted:
        name = TYPE_CODES.get(item) if item.__class__ is int else item
        if not isinstance(name, str) or name not in TYPE_NAMES:
            raise InvalidQuery(f"{place}: unknown type {item!r}; known are {', '.join(sorted(TYPE_NAMES))}")
        types |= _NUMERIC_TYPES if name == "number" else {name}
    return HasType(path, frozenset(types))


def _regex(path: Path, operators: Mapping[str, Any], place: str) -> Clause:
    return Matches(path, parse_pattern(operators["$regex"], operators.get("$options", ""), place))


def parse_pattern(pattern: Any, options: Any, place: str) -> re.Pattern[str]:
    """Return a regular expression, its options being any of i, m, s and x."""
    if isinstance(pattern, re.Pattern):
        if not options:
            return _checked(pattern, place)
        pattern = _checked(pattern, place).pattern
    if not isinstance(pattern, str) or not isinstance(options, str):
        raise InvalidQuery(f"{place}: takes a string, with $options a string, not {pattern!r} and {options!r}")
    flags = 0
    for letter in options:
        if letter not in _OPTIONS:
            raise InvalidQuery(f"{place}: unknown option {letter!r} in {options!r}; known are i, m, s and x")
        flags |= _OPTIONS[letter]
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise InvalidQuery(f"{place}: {pattern!r} is not a regular expression: {error}") from error


def _checked(pattern: re.Pattern[Any], place: str) -> re.Pattern[str]:
    if not isinstance(pattern.pattern, str):
        raise InvalidQuery(f"{place}: a regular expression over bytes cannot stand here")
    return pattern


def _mod(path: Path, operand: Any, place: str) -> Clause:
    numbers = _array(operand, place)
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise InvalidQuery(f"{place}: takes an array of divisor and remainder, not {operand!r}")
    try:
        divisor, remainder = (int(n) for n in numbers)
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"{place}: takes finite numbers, not {operand!r}") from error
    if divisor == 0 or not all(MIN_INT <= n <= MAX_INT for n in (divisor, remainder)):
        raise InvalidQuery(f"{place}: takes integers of 64 bits, the divisor not 0, not {operand!r}")
    return Modulo(path, divisor, remainder)


def _size(path: Path, operand: Any, place: str) -> Clause:
    if isinstance(operand, bool) or not isinstance(operand, int | float) or operand != int(operand) or operand < 0:
        raise InvalidQuery(f"{place}: takes a whole number of at least 0, not {operand!r}")
    return HasSize(path, int(operand))


def _all(path: Path, operand: Any, place: str) -> Clause:
    clauses = []
    for index, item in enumerate(_array(operand, place)):
        where = f"{place}.{index}"
        if is_operators(item):
            if list(item) != ["$elemMatch"]:
                raise InvalidQuery(f"{where}: here may stand values, or objects of $elemMatch alone")
            clauses.append(_elem_match(path, item["$elemMatch"], f"{where}.$elemMatch"))
        else:
            clauses.append(_equal(path, item, where))
    return _all_of(clauses) if clauses else _NEVER


def _elem_match(path: Path, operand: Any, place: str) -> Clause:
    if not isinstance(operand, Mapping):
        raise InvalidQuery(f"{place}: takes an object, not {operand!r}")
    if is_operators(operand) and next(iter(operand)) not in ("$and", "$or", "$nor"):
        return ElemMatch(path, _operators((), operand, place), documents=False)
    return ElemMatch(path, parse_filter(operand, place), documents=True)


def _array(operand: Any, place: str) -> Sequence[Any]:
    if not isinstance(operand, list | tuple):
        raise InvalidQuery(f"{place}: takes an array, not {operand!r}")
    return operand


def _text(operand: Any, place: str) -> Clause:
    if not isinstance(operand, Mapping) or set(operand) != {"$search"} or not isinstance(operand["$search"], str):
        raise InvalidQuery(f"{place}: takes an object of $search, a string, alone")
    words: list[str] = []
    phrases: list[str] = []
    excluded: list[str] = []
    for phrase, word in re.findall(r'"([^"]*)"|(\S+)', operand["$search"]):
        if phrase:
            phrases.append(phrase)
        elif word.startswith("-") and len(word) > 1:
            excluded.append(word[1:])
        elif word:
            words.append(word)
    return Text(tuple(words), tuple(phrases), tuple(excluded))


_OPERATORS: dict[str, Callable[[Path, Any, str], Clause]] = {
    "$eq": _equal,
    "$ne": _unequal,
    "$gt": _comparison(Comparison.GT),
    "$gte": _comparison(Comparison.GTE),
    "$lt": _comparison(Comparison.LT),
    "$lte": _comparison(Comparison.LTE),
    "$in": _in,
    "$nin": _not_in,
    "$not": _not,
    "$exists": _exists,
    "$type": _type,
    "$regex": _regex,
    "$mod": _mod,
    "$size": _size,
    "$all": _all,
    "$elemMatch": _elem_match,
}
