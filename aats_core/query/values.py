"""Values of documents: which there are, how they compare, and what order their types have among each other."""

from __future__ import annotations

import math
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


def normal(value: Any, place: str = "document", depth: int = 0) -> Any:
    """Return a copy of a value as every store keeps it.

    Subclasses become plain values (an enum's member its value), tuples lists, and a date an instant in UTC to
    the millisecond (one without a zone is taken as UTC). Raises `InvalidDocument`, naming the place, on
    anything else, on an integer beyond 64 bits, a decimal beyond 34 digits, and nesting deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise InvalidDocument(f"{place}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return {_name(k, place): normal(v, f"{place}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [normal(item, f"{place}.{index}", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Enum) and value.__class__ is not Missing:
        return normal(value.value, place, depth)
    return _normal_scalar(value, place)


def _normal_scalar(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, int):
        if not MIN_INT <= value <= MAX_INT:
            raise InvalidDocument(f"{place}: the integer {value} does not fit into 64 bits; write it as a string")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Decimal):
        return _decimal(value, place)
    raise InvalidDocument(f"{place}: a {type(value).__name__} cannot be stored")


def _name(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise InvalidDocument(f"{place}: the field name {key!r} is not a string")
    if "\0" in key:
        raise InvalidDocument(f"{place}: the field name {key!r} holds a NUL character")
    return _text(key, place)


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidDocument(f"{place}: the string holds half of a surrogate pair: {error}") from error
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


def _decimal(value: Decimal, place: str) -> Decimal:
    _, digits, exponent = value.as_tuple()
    if exponent == "N":
        raise InvalidDocument(f"{place}: a signaling NaN cannot be stored")
    if isinstance(exponent, int) and (len(digits) > 34 or not -6176 <= exponent <= 6111):
        raise InvalidDocument(f"{place}: the decimal {value} has more than 34 digits or too large an exponent")
    return value


def as_decimal(value: float | Decimal) -> Decimal:
    """Return a number as a decimal: a float by its 15 significant digits, as MongoDB does."""
    if value.__class__ is float and math.isfinite(value) and value:
        return Decimal(f"{value:.14e}")
    return Decimal(value)
