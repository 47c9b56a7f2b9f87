"""What `$group` makes of the values of its documents, and the same over the elements of an array."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from aats_core.query.numbers import QUIET, summed
from aats_core.query.values import MISSING, NUMBER, rank, sort_key

Accumulate: TypeAlias = Callable[[Sequence[Any]], Any]
"""Makes one value of those of all documents of a group, in their order."""


_NUMBERS = {int, float, Decimal}


def _numbers(values: Sequence[Any]) -> Sequence[Any]:
    return values if _NUMBERS.issuperset(map(type, values)) else [value for value in values if rank(value) == NUMBER]


def total(values: Sequence[Any]) -> Any:
    """Return the sum of those that are numbers; 0 of none."""
    return summed(_numbers(values))


def average(values: Sequence[Any]) -> Any:
    """Return the mean of those that are numbers; null of none."""
    numbers = _numbers(values)
    if not numbers:
        return None
    sum_of_all = summed(numbers)
    if isinstance(sum_of_all, Decimal):
        return QUIET.divide(sum_of_all, Decimal(len(numbers)))
    return float(sum_of_all) / len(numbers)


def _present(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None and value is not MISSING]


def least(values: Sequence[Any]) -> Any:
    """Return the first in the order of all types, not counting null; null of none."""
    return min(_present(values), key=sort_key, default=None)


def greatest(values: Sequence[Any]) -> Any:
    """Return the last in the order of all types, not counting null; null of none."""
    return max(_present(values), key=sort_key, default=None)


def _or_null(value: Any) -> Any:
    return None if value is MISSING else value


def _first(values: Sequence[Any]) -> Any:
    return _or_null(values[0])


def _last(values: Sequence[Any]) -> Any:
    return _or_null(values[-1])


def _push(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not MISSING]


def _add_to_set(values: Sequence[Any]) -> list[Any]:
    return list({sort_key(value): value for value in reversed(_push(values))}.values())[::-1]


def _deviation(values: Sequence[Any], of_sample: bool) -> Any:  # noqa: FBT001 - bound by name below
    numbers = [float(number) for number in _numbers(values)]
    if len(numbers) <= of_sample:
        return None
    if not all(map(math.isfinite, numbers)):
        return math.nan
    mean = math.fsum(numbers) / len(numbers)
    return math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (len(numbers) - of_sample))


def merged(values: Sequence[Any]) -> dict[str, Any]:
    """Return an object with the fields of all of them, the last of each name; null counts for none."""
    fields: dict[str, Any] = {}
    for value in _present(values):
        if not isinstance(value, dict):
            raise TypeError(f"takes objects, not {value!r}")
        fields.update(value)
    return fields


ACCUMULATORS: dict[str, Accumulate] = {
    "$sum": total,
    "$avg": average,
    "$min": least,
    "$max": greatest,
    "$first": _first,
    "$last": _last,
    "$push": _push,
    "$addToSet": _add_to_set,
    "$count": len,
    "$stdDevPop": lambda values: _deviation(values, of_sample=False),
    "$stdDevSamp": lambda values: _deviation(values, of_sample=True),
    "$mergeObjects": merged,
}
"""By operator."""
