"""The operators of expressions, each a function of its arguments; most of them make null of null and of nothing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from aats_core.query import arithmetic, texts
from aats_core.query.accumulators import average, greatest, least, merged, total
from aats_core.query.arithmetic import is_null, null_in_null_out, whole
from aats_core.query.values import MISSING, NUMBER, rank, sort_key, type_name

Function: TypeAlias = Callable[[Sequence[Any]], Any]

_NOTHING = (0,)


def is_true(value: Any) -> bool:
    """Tell whether a value counts as true: all do but false, null, nothing and zero."""
    if value is None or value is MISSING:
        return False
    return bool(value) if rank(value) == NUMBER or value.__class__ is bool else True


def _key(value: Any) -> tuple[Any, ...]:
    return _NOTHING if value is MISSING else sort_key(value)


def _comparing(compare: Callable[[Any, Any], Any]) -> Function:
    return lambda arguments: compare(_key(arguments[0]), _key(arguments[1]))


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"takes arrays, not {value!r}")
    return value


def _date(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"takes dates, not {value!r}")
    return value


# Arrays and objects


def _element(array: Any, index: Any) -> Any:
    _array(array)
    at = whole(index)
    return array[at] if -len(array) <= at < len(array) else MISSING


def _slice(arguments: Sequence[Any]) -> Any:
    array, first, *rest = arguments
    if is_null(array) or is_null(first):
        return None
    _array(array)
    start = whole(first)
    if not rest:
        return array[:start] if start >= 0 else array[start:]
    if is_null(rest[0]):
        return None
    count = whole(rest[0])
    if count <= 0:
        raise ValueError(f"takes a count of at least 1, not {count}")
    begin = start if start >= 0 else max(0, len(array) + start)
    return array[begin : begin + count]


def _concat_arrays(arrays: Sequence[Any]) -> list[Any] | None:
    found: list[Any] = []
    for array in arrays:
        if is_null(array):
            return None
        found += _array(array)
    return found


def _contains(arguments: Sequence[Any]) -> bool:
    wanted = _key(arguments[0])
    return any(_key(item) == wanted for item in _array(arguments[1]))


def _object_to_array(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict):
        raise TypeError(f"takes an object, not {value!r}")
    return [{"k": name, "v": item} for name, item in value.items()]


def _over_values(accumulate: Callable[[Sequence[Any]], Any]) -> Function:
    """Return a function over its arguments, or over the elements of its one argument where that is an array."""

    def apply(arguments: Sequence[Any]) -> Any:
        if len(arguments) == 1 and arguments[0].__class__ is list:
            return accumulate(arguments[0])
        return accumulate(arguments)

    return apply


FUNCTIONS: dict[str, Function] = {
    "$eq": _comparing(operator.eq),
    "$ne": _comparing(operator.ne),
    "$gt": _comparing(operator.gt),
    "$gte": _comparing(operator.ge),
    "$lt": _comparing(operator.lt),
    "$lte": _comparing(operator.le),
    "$cmp": _comparing(lambda left, right: (left > right) - (left < right)),
    "$not": lambda arguments: not is_true(arguments[0]),
    "$add": arithmetic.add,
    "$subtract": null_in_null_out(arithmetic.subtract),
    "$multiply": arithmetic.multiply,
    "$divide": null_in_null_out(arithmetic.divide),
    "$mod": null_in_null_out(arithmetic.modulo),
    "$pow": null_in_null_out(arithmetic.power),
    "$abs": null_in_null_out(arithmetic.absolute),
    "$sqrt": null_in_null_out(arithmetic.root),
    "$ceil": arithmetic.ceiling,
    "$floor": arithmetic.floor,
    "$round": arithmetic.rounded,
    "$trunc": arithmetic.truncated,
    "$sum": _over_values(total),
    "$avg": _over_values(average),
    "$min": _over_values(least),
    "$max": _over_values(greatest),
    "$concat": texts.concatenated,
    "$toLower": texts.lower,
    "$toUpper": texts.upper,
    "$strLenCP": lambda arguments: len(texts.string(arguments[0])),
    "$substrCP": texts.substring,
    "$split": null_in_null_out(texts.split),
    "$type": lambda arguments: type_name(arguments[0]),
    "$isNumber": lambda arguments: rank(arguments[0]) == NUMBER,
    "$toString": null_in_null_out(texts.to_string),
    "$toInt": null_in_null_out(texts.to_int),
    "$toLong": null_in_null_out(texts.to_long),
    "$toDecimal": null_in_null_out(texts.to_decimal),
    "$toDouble": null_in_null_out(texts.to_double),
    "$year": null_in_null_out(lambda date: _date(date).year),
    "$month": null_in_null_out(lambda date: _date(date).month),
    "$dayOfMonth": null_in_null_out(lambda date: _date(date).day),
    "$hour": null_in_null_out(lambda date: _date(date).hour),
    "$minute": null_in_null_out(lambda date: _date(date).minute),
    "$second": null_in_null_out(lambda date: _date(date).second),
    "$millisecond": null_in_null_out(lambda date: _date(date).microsecond // 1000),
    "$size": lambda arguments: len(_array(arguments[0])),
    "$isArray": lambda arguments: isinstance(arguments[0], list),
    "$first": null_in_null_out(lambda array: _element(array, 0)),
    "$last": null_in_null_out(lambda array: _element(array, -1)),
    "$arrayElemAt": null_in_null_out(_element),
    "$slice": _slice,
    "$in": _contains,
    "$concatArrays": _concat_arrays,
    "$reverseArray": null_in_null_out(lambda array: _array(array)[::-1]),
    "$mergeObjects": _over_values(merged),
    "$objectToArray": null_in_null_out(_object_to_array),
}
