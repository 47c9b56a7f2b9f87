"""Arithmetic over integers of 64 bits, floats and decimals as MongoDB does it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

from aats_core.query.values import MAX_INT, MIN_INT, as_decimal

DECIMALS = Context(prec=34)
"""Arithmetic over decimals of 34 digits; it raises `decimal.InvalidOperation` or `decimal.Overflow`."""

QUIET = Context(prec=34, Emin=-6143, Emax=6144, clamp=1, traps=[])
"""The same, but what has no result is NaN or infinite."""


def summed(numbers: Sequence[Any]) -> Any:
    """Return a sum, rounded once: a decimal if one of the numbers is, otherwise a float if one is.

    A float also where no integer of 64 bits can hold it.
    """
    types = set(map(type, numbers))
    if Decimal not in types:
        return fitted(_float_sum(numbers) if float in types else sum(numbers))
    decimals = [number for number in numbers if number.__class__ is Decimal]
    others = [number for number in numbers if number.__class__ is not Decimal]
    rest = _float_sum(others) if float in types else sum(others)
    total = Decimal(0)
    for number in decimals:
        total = QUIET.add(total, number)
    return QUIET.add(total, Decimal(rest)) if others else total


def _float_sum(numbers: Sequence[Any]) -> float:
    parts = [part for number in numbers for part in _exact_parts(number)]
    try:
        return math.fsum(parts)
    except (OverflowError, ValueError):  # beyond the largest float, or infinities of both signs
        return float(sum(map(float, numbers)))


def _exact_parts(number: float) -> tuple[float, ...]:
    """Return floats that are together exactly a number, which a large integer alone is not."""
    if number.__class__ is float:
        return (number,)
    nearest = float(number)
    return (nearest, float(number - int(nearest)))


def multiplied(left: Any, right: Any) -> Any:
    """Return a product: a decimal if one of the numbers is, and a float where no integer of 64 bits can hold it."""
    if Decimal in (left.__class__, right.__class__):
        return QUIET.multiply(as_decimal(left), as_decimal(right))
    return fitted(left * right)


def subtracted(left: Any, right: Any) -> Any:
    """Return a difference: a decimal if one of the numbers is, and a float where no integer of 64 bits can hold it."""
    if Decimal in (left.__class__, right.__class__):
        return QUIET.subtract(as_decimal(left), as_decimal(right))
    return fitted(left - right)


def fitted(number: Any) -> Any:
    """Return a number, as a float where it is an integer that 64 bits cannot hold."""
    return float(number) if number.__class__ is int and not MIN_INT <= number <= MAX_INT else number
