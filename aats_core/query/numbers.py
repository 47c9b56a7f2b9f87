"""Arithmetic over integers of 64 bits, floats and decimals as MongoDB does it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

from aats_core.query.values import MAX_INT, MIN_INT, as_decimal

DECIMALS = Context(prec=34)
"""Arithmetic over decimals of 34 digits; it raises `decimal.InvalidOperation` or `decimal.Overflow`."""


def added(left: Any, right: Any) -> Any:
    """Return a sum: a decimal if one of the numbers is, and a float where no integer of 64 bits can hold it."""
    if Decimal in (left.__class__, right.__class__):
        return _decimal(DECIMALS.add, left, right)
    return _fitted(left + right)


def multiplied(left: Any, right: Any) -> Any:
    """Return a product: a decimal if one of the numbers is, and a float where no integer of 64 bits can hold it."""
    if Decimal in (left.__class__, right.__class__):
        return _decimal(DECIMALS.multiply, left, right)
    return _fitted(left * right)


def _decimal(compute: Callable[[Decimal, Decimal], Decimal], left: Any, right: Any) -> Decimal:
    return compute(as_decimal(left), as_decimal(right))


def _fitted(number: Any) -> Any:
    return float(number) if number.__class__ is int and not MIN_INT <= number <= MAX_INT else number
