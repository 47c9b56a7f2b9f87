"""Values of documents: which there are, how they compare, and what order their types have among each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from aats_core.errors import InvalidDocument

MAX_DEPTH = 100
"""How deep objects and arrays of a document may be nested."""

MIN_INT, MAX_INT = -(2**63), 2**63 - 1

_MIN_INT32, _MAX_INT32 = -(2**31), 2**31 - 1


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""What stands at a path where a document has nothing; it sorts with null."""

NULL, NUMBER, STRING, OBJECT, ARRAY, BINARY, BOOLEAN, DATE = range(1, 9)
"""The classes of values that compare with each other, in the order that they sort in."""

_RANKS: dict[type, int] = {
    Missing: NULL,
    type(None): NULL,
    int: NUMBER,
    float: NUMBER,
    Decimal: NUMBER,
    str: STRING,
    dict: OBJECT,
    list: ARRAY,
    bytes: BINARY,
    bool: BOOLEAN,
    datetime: DATE,
}

TYPE_NAMES = frozenset(
    {"double", "string", "object", "array", "binData", "bool", "date", "null", "int", "long", "decimal", "number"}
)
"""What `$type` may ask for; `number` stands for double, int, long and decimal."""

TYPE_CODES = {
    1: "double",
    2: "string",
    3: "object",
    4: "array",
    5: "binData",
    8: "bool",
    9: "date",
    10: "null",
    16: "int",
    18: "long",
    19: "decimal",
}
"""The numbers by which `$type` may ask instead."""

_SIMPLE_NAMES: dict[type, str] = {
    Missing: "missing",
    type(None): "null",
    float: "double",
    Decimal: "decimal",
    str: "string",
    dict: "object",
    list: "array",
    bytes: "binData",
    bool: "bool",
    datetime: "date",
}


def rank(value: Any) -> int:
    """Return the class of a value in the order of types."""
    return _RANKS[value.__class__]


def type_name(value: Any) -> str:
    """Return what `$type` calls the value: an integer is `int` where 32 bits hold it, and `long` otherwise."""
    if value.__class__ is int:
        return "int" if _MIN_INT32 <= value <= _MAX_INT32 else "long"
    return _SIMPLE_NAMES[value.__class__]


def is_nan(value: Any) -> bool:
    """Tell whether a value is the number that is none, as float or as decimal."""
    return (value.__class__ is float or value.__class__ is Decimal) and value != value


def sort_key(value: Any) -> tuple[Any, ...]:
    """Return a key that sorts values of all types as MongoDB does; equal values have equal keys.

    Numbers compare by value whatever their type, and NaN is less than all others; objects compare field by field
    in order: type, name, value; binary values by length first.
    """
    kind = _RANKS[value.__class__]
    if kind == NULL:
        return (NULL,)
    if kind == NUMBER:
        return (NUMBER, 0) if value != value else (NUMBER, 1, value)
    if kind == OBJECT:
        return (OBJECT, tuple((_RANKS[v.__class__], k, sort_key(v)) for k, v in value.items()))
    if kind == ARRAY:
        return (ARRAY, tuple(map(sort_key, value)))
    if kind == BINARY:
        return (BINARY, len(value), value)
    return (kind, value)


def equal(left: Any, right: Any) -> bool:
    """Tell whether two values are the same to a filter: 1 equals 1.0, true does not equal 1, null equals missing."""
    return sort_key(left) == sort_key(right)


def identical(left: Any, right: Any) -> bool:
    """Tell whether two values are the same in value, type and order of fields, so that writing one changes nothing."""
    if left.__class__ is not right.__class__:
        return False
    if left.__class__ is dict:
        return len(left) == len(right) and all(
            a == b and identical(x, y) for (a, x), (b, y) in zip(left.items(), right.items(), strict=True)
        )
    if left.__class__ is list:
        return len(left) == len(right) and all(map(identical, left, right))
    if left.__class__ is Decimal:
        return str(left) == str(right)
    return bool(left == right) or (is_nan(left) and is_nan(right))


class _Unkept(Exception):
    """Something cannot be kept; on its way up it learns where it lies."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.place: list[str] = []


def normal(value: Any, place: str = "document") -> Any:
    """Return a copy of a value as every store keeps it.

    Subclasses become plain values (an enum's member its value), tuples lists, and a date an instant in UTC to
    the millisecond (one without a zone is taken as UTC). Raises `InvalidDocument`, naming the place, on
    anything else, on an integer beyond 64 bits, a decimal beyond 34 digits, and nesting deeper than `MAX_DEPTH`.
    """
    try:
        return _kept(value, 0)
    except _Unkept as error:
        raise InvalidDocument(f"{'.'.join([place, *reversed(error.place)])}: {error.reason}") from error.__cause__


def _kept(value: Any, depth: int) -> Any:
    kind = value.__class__
    if kind is dict and depth < MAX_DEPTH:
        return _kept_object(value, depth + 1)
    if kind is list and depth < MAX_DEPTH:
        return _kept_array(value, depth + 1)
    if kind in _AS_IT_IS:
        return value
    if kind in _KEPT:
        return _KEPT[kind](value)
    return _kept_rarer(value, depth)


def _kept_rarer(value: Any, depth: int) -> Any:
    if isinstance(value, dict | list | tuple):
        if depth >= MAX_DEPTH and value:
            raise _Unkept(f"nested deeper than {MAX_DEPTH} levels")
        return _kept_object(value, depth + 1) if isinstance(value, dict) else _kept_array(value, depth + 1)
    if isinstance(value, Enum) and value.__class__ is not Missing:
        return _kept(value.value, depth)
    for base, keep in _KEPT.items():
        if isinstance(value, base):
            return keep(value)
    raise _Unkept(f"a {type(value).__name__} cannot be stored")


def _kept_object(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    """Copy an object; what most documents hold is looked at here, without a call for each value."""
    copied = {}
    for key, item in value.items():
        name = key if key.__class__ is str and key.isidentifier() else _name(key)
        kind = item.__class__
        if kind in _AS_IT_IS or (kind is str and item.isascii()) or (kind is int and MIN_INT <= item <= MAX_INT):
            copied[name] = item
            continue
        try:
            copied[name] = _kept(item, depth)
        except _Unkept as error:
            error.place.append(name)
            raise
    return copied


def _kept_array(value: Sequence[Any], depth: int) -> list[Any]:
    copied: list[Any] = []
    for item in value:
        if item.__class__ is str and item.isascii():
            copied.append(item)
            continue
        try:
            copied.append(_kept(item, depth))
        except _Unkept as error:
            error.place.append(str(len(copied)))
            raise
    return copied


def _integer(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise _Unkept(f"the integer {value} does not fit into 64 bits; write it as a string")
    return int(value)


def _name(key: Any) -> str:
    if not isinstance(key, str):
        raise _Unkept(f"the field name {key!r} is not a string")
    if "\0" in key:
        raise _Unkept(f"the field name {key!r} holds a NUL character")
    return _text(key)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Unkept(f"the string holds half of a surrogate pair: {error}") from error
    return str(value)


def _instant(value: datetime) -> datetime:
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return datetime(
        aware.year,
        aware.month,
        aware.day,
        aware.hour,
        aware.minute,
        aware.second,
        aware.microsecond // 1000 * 1000,
        tzinfo=UTC,
    )


def _decimal(value: Decimal) -> Decimal:
    _, digits, exponent = value.as_tuple()
    if exponent == "N":
        raise _Unkept("a signaling NaN cannot be stored")
    if isinstance(exponent, int) and (len(digits) > 34 or not -6176 <= exponent <= 6111):
        raise _Unkept(f"the decimal {value} has more than 34 digits or too large an exponent")
    return value


_AS_IT_IS = frozenset({type(None), bool, float, bytes})
"""Types whose every value is kept as it is."""

_KEPT: dict[type, Callable[[Any], Any]] = {
    str: _text,
    int: _integer,
    float: float,
    datetime: _instant,
    bytes: bytes,
    bytearray: bytes,
    memoryview: bytes,
    Decimal: _decimal,
}
"""How values of the other types are kept, and those of their subclasses."""


def as_decimal(value: float | Decimal) -> Decimal:
    """Return a number as a decimal: a float by its 15 significant digits, as MongoDB does."""
    if value.__class__ is float and math.isfinite(value) and value:
        return Decimal(f"{value:.14e}")
    return Decimal(value)
