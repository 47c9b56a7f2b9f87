"""The arithmetic operators of expressions: over integers of 64 bits, floats, decimals and dates, as MongoDB does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
)
from typing import Any

from aats_core.query.numbers import QUIET, multiplied, subtracted, summed
from aats_core.query.values import MAX_INT, MIN_INT, MISSING, NUMBER, as_decimal, is_nan, rank

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_WIDE = Context(prec=700, Emax=7000, Emin=-7000)
"""Digits enough to round any float or decimal."""
_LEAST_PLACES, _MOST_PLACES = -20, 100


def is_null(value: Any) -> bool:
    """Tell whether there is null or nothing."""
    return value is None or value is MISSING


def null_in_null_out(function: Callable[..., Any]) -> Callable[[Sequence[Any]], Any]:
    """Return a function of a sequence that makes null where one of its arguments is null or nothing."""

    def apply(arguments: Sequence[Any]) -> Any:
        return None if any(map(is_null, arguments)) else function(*arguments)

    return apply


def number(value: Any) -> Any:
    """Return a number; raises `TypeError` on anything else."""
    if rank(value) != NUMBER:
        raise TypeError(f"takes numbers, not {value!r}")
    return value


def whole(value: Any) -> int:
    """Return a number as an integer of 32 bits; raises `ValueError` where it is none."""
    if rank(value) != NUMBER or not is_finite(value) or value != int(value) or not -(2**31) <= value < 2**31:
        raise ValueError(f"takes whole numbers of 32 bits, not {value!r}")
    return int(value)


def _is_whole(value: float) -> bool:
    return value.is_integer() and -(2**31) <= value < 2**31


def in_range(value: Any) -> Any:
    """Return a number; raises `ValueError` where it is an integer that 64 bits cannot hold."""
    if value.__class__ is int and not MIN_INT <= value <= MAX_INT:
        raise ValueError(f"{value} does not fit into 64 bits")
    return value


def is_finite(value: Any) -> bool:
    """Tell whether a number is neither NaN nor infinite."""
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


def add(values: Sequence[Any]) -> Any:
    """Return the sum, a date if one is among them; null once it meets null, before it looks at what follows."""
    date: datetime | None = None
    numbers = []
    for value in values:
        if is_null(value):
            return None
        if not isinstance(value, datetime):
            numbers.append(number(value))
        elif date is not None:
            raise ValueError("takes one date at most")
        else:
            date = value
    if date is None:
        return summed(numbers)
    return EPOCH + _milliseconds(summed([(date - EPOCH) // _MILLISECOND, *numbers]))


def _milliseconds(value: Any) -> timedelta:
    if not is_finite(value):
        raise ValueError(f"takes milliseconds, not {value!r}")
    cut = value.to_integral_value(ROUND_HALF_EVEN) if isinstance(value, Decimal) else value
    try:
        return int(cut) * _MILLISECOND
    except OverflowError as error:
        raise OverflowError("date value out of range") from error


def subtract(left: Any, right: Any) -> Any:
    """Return a difference: of two dates in milliseconds, of a date and milliseconds as a date."""
    if isinstance(left, datetime):
        if isinstance(right, datetime):
            return (left - right) // _MILLISECOND
        return left - _milliseconds(number(right))
    return subtracted(number(left), number(right))


def multiply(values: Sequence[Any]) -> Any:
    """Return the product; null once it meets null, before it looks at what follows."""
    product: Any = 1
    for value in values:
        if is_null(value):
            return None
        product = multiplied(product, number(value))
    return product


def divide(left: Any, right: Any) -> Any:
    """Return the quotient, a decimal if one of them is and a float otherwise."""
    number(left)
    if number(right) == 0:
        raise ValueError("cannot divide by zero")
    if Decimal in (left.__class__, right.__class__):
        return QUIET.divide(as_decimal(left), as_decimal(right))
    return float(left) / float(right)


def modulo(left: Any, right: Any) -> Any:
    """Return the remainder, of the sign of what is divided."""
    number(left)
    if number(right) == 0:
        raise ValueError("cannot divide by zero")
    if Decimal in (left.__class__, right.__class__):
        return _decimal_remainder(as_decimal(left), as_decimal(right))
    if left.__class__ is float or (right.__class__ is float and not _is_whole(right)):
        return math.fmod(left, right) if math.isfinite(left) else math.nan
    right = int(right)
    return (abs(left) % abs(right)) * (1 if left >= 0 else -1)


def _decimal_remainder(left: Decimal, right: Decimal) -> Decimal:
    if not left.is_finite() or not right.is_finite():
        return QUIET.remainder(left, right)
    exact = _WIDE.remainder(left, right)
    return QUIET.create_decimal(exact)


def power(base: Any, exponent: Any) -> Any:
    """Return a power: an integer where 64 bits can hold it, a decimal if one of them is, and a float otherwise."""
    if number(base) == 0 and not is_nan(number(exponent)) and exponent < 0:
        raise ValueError("cannot raise 0 to a negative power")
    if Decimal in (base.__class__, exponent.__class__):
        return QUIET.power(as_decimal(base), as_decimal(exponent))
    if base.__class__ is int and exponent.__class__ is int and _is_small_power(base, exponent):
        result = int(base**exponent)
        if MIN_INT <= result <= MAX_INT:
            return result
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        return math.nan


def _is_small_power(base: int, exponent: int) -> bool:
    return base in (-1, 0, 1) or 0 <= exponent < 64


def absolute(value: Any) -> Any:
    """Return the absolute value."""
    return in_range(abs(number(value)))


def root(value: Any) -> Any:
    """Return the square root."""
    if not is_nan(number(value)) and value < 0:
        raise ValueError(f"cannot take the square root of {value!r}")
    return QUIET.sqrt(value) if isinstance(value, Decimal) else math.sqrt(value)


def _rounding(mode: str) -> Callable[[Sequence[Any]], Any]:
    def apply(arguments: Sequence[Any]) -> Any:
        value, places = arguments[0], arguments[1] if len(arguments) > 1 else 0
        if is_null(value) or (rank(value) == NUMBER and is_null(places)):
            return None
        digits = whole(places) if rank(value) == NUMBER else 0
        if not _LEAST_PLACES <= digits <= _MOST_PLACES:
            raise ValueError(f"takes from {_LEAST_PLACES} to {_MOST_PLACES} places, not {digits}")
        if not is_finite(number(value)) or (value.__class__ is int and digits >= 0):
            return value
        rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=mode, context=_WIDE)
        if not isinstance(value, Decimal):
            return in_range(type(value)(rounded))
        return QUIET.create_decimal(rounded)

    return apply


ceiling, floor = _rounding(ROUND_CEILING), _rounding(ROUND_FLOOR)
rounded, truncated = _rounding(ROUND_HALF_EVEN), _rounding(ROUND_DOWN)
