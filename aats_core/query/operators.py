"""The operators of expressions, each a function of its arguments; most of them make null of null and of nothing."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, TypeAlias

from aats_core.query.accumulators import average, greatest, least, total
from aats_core.query.numbers import DECIMALS, added, multiplied
from aats_core.query.values import MAX_INT, MIN_INT, MISSING, NUMBER, as_decimal, rank, sort_key, type_name

Function: TypeAlias = Callable[[Sequence[Any]], Any]

_NOTHING = (0,)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def is_true(value: Any) -> bool:
    """Tell whether a value counts as true: all do but false, null, nothing and zero."""
    if value is None or value is MISSING:
        return False
    return bool(value) if rank(value) == NUMBER or value.__class__ is bool else True


def _is_null(value: Any) -> bool:
    return value is None or value is MISSING


def _null_in_null_out(function: Callable[..., Any]) -> Function:
    def apply(arguments: Sequence[Any]) -> Any:
        return None if any(map(_is_null, arguments)) else function(*arguments)

    return apply


def _key(value: Any) -> tuple[Any, ...]:
    return _NOTHING if value is MISSING else sort_key(value)


def _comparing(compare: Callable[[Any, Any], Any]) -> Function:
    return lambda arguments: compare(_key(arguments[0]), _key(arguments[1]))


def _number(value: Any) -> Any:
    if rank(value) != NUMBER:
        raise TypeError(f"takes numbers, not {value!r}")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"takes strings, not {value!r}")
    return value


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"takes arrays, not {value!r}")
    return value


def _whole(value: Any) -> int:
    if rank(value) != NUMBER or value != int(value):
        raise ValueError(f"takes whole numbers, not {value!r}")
    return int(value)


def _date(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"takes dates, not {value!r}")
    return value


# Arithmetic


def _add(*values: Any) -> Any:
    dates = [value for value in values if isinstance(value, datetime)]
    if len(dates) > 1:
        raise ValueError("takes one date at most")
    numbers: Any = 0
    for value in values:
        if not isinstance(value, datetime):
            numbers = added(numbers, _number(value))
    return dates[0] + round(numbers) * _MILLISECOND if dates else numbers


def _subtract(left: Any, right: Any) -> Any:
    if isinstance(left, datetime):
        if isinstance(right, datetime):
            return (left - right) // _MILLISECOND
        return left - round(_number(right)) * _MILLISECOND
    return added(_number(left), -_number(right))


def _multiply(*values: Any) -> Any:
    product: Any = 1
    for value in values:
        product = multiplied(product, _number(value))
    return product


def _divide(left: Any, right: Any) -> Any:
    if _number(right) == 0:
        raise ValueError("cannot divide by zero")
    if Decimal in (left.__class__, right.__class__):
        return DECIMALS.divide(as_decimal(_number(left)), as_decimal(right))
    return float(_number(left)) / float(right)


def _mod(left: Any, right: Any) -> Any:
    if _number(right) == 0:
        raise ValueError("cannot divide by zero")
    if Decimal in (left.__class__, right.__class__):
        return DECIMALS.remainder(as_decimal(_number(left)), as_decimal(right))
    if float in (_number(left).__class__, right.__class__):
        return math.fmod(left, right)
    return int(math.copysign(abs(left) % abs(right), left)) if left else 0


def _pow(base: Any, exponent: Any) -> Any:
    if base.__class__ is int and exponent.__class__ is int and exponent >= 0:
        power = base**exponent
        return power if MIN_INT <= power <= MAX_INT else float(power)
    return float(_number(base)) ** float(_number(exponent))


def _rounding(mode: str) -> Function:
    def apply(value: Any, places: Any = 0) -> Any:
        digits = _whole(places)
        if _number(value).__class__ is int and digits >= 0:
            return value
        if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            return value
        rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=mode)
        return rounded if isinstance(value, Decimal) else type(value)(rounded)

    return _null_in_null_out(apply)


def _sqrt(value: Any) -> Any:
    return _number(value).sqrt() if isinstance(value, Decimal) else math.sqrt(_number(value))


# Strings


def _concat(*values: Any) -> str:
    return "".join(map(_string, values))


def _cased(change: Callable[[str], str]) -> Function:
    return lambda arguments: "" if _is_null(arguments[0]) else change(_string(arguments[0]))


def _substring(text: Any, start: Any, length: Any) -> str:
    begin = _whole(start)
    return _string(text)[begin : begin + _whole(length)]


def _to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    if isinstance(value, dict | list | bytes):
        raise TypeError(f"cannot make a string of {value!r}")
    return str(value)


# Conversions and types


def _to_int(value: Any) -> int:
    if isinstance(value, dict | list | bytes | datetime):
        raise TypeError(f"cannot make an integer of {value!r}")
    number = int(value)
    if not MIN_INT <= number <= MAX_INT:
        raise ValueError(f"{number} does not fit into 64 bits")
    return number


def _to_double(value: Any) -> float:
    if isinstance(value, datetime):
        return float((value - _EPOCH) // _MILLISECOND)
    if isinstance(value, dict | list | bytes):
        raise TypeError(f"cannot make a number of {value!r}")
    return float(value)


# Arrays and objects


def _element(array: Any, index: Any) -> Any:
    at = _whole(index)
    return _array(array)[at] if -len(array) <= at < len(array) else MISSING


def _slice(array: Any, first: Any, count: Any = None) -> list[Any]:
    start = _whole(first)
    if count is None:
        return _array(array)[:start] if start >= 0 else _array(array)[start:]
    begin = start if start >= 0 else max(0, len(array) + start)
    return _array(array)[begin : begin + _whole(count)]


def _concat_arrays(*arrays: Any) -> list[Any]:
    return [item for array in arrays for item in _array(array)]


def _contains(arguments: Sequence[Any]) -> bool:
    wanted = _key(arguments[0])
    return any(_key(item) == wanted for item in _array(arguments[1]))


def _merge_objects(arguments: Sequence[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for value in arguments:
        if not _is_null(value):
            if not isinstance(value, dict):
                raise TypeError(f"takes objects, not {value!r}")
            merged.update(value)
    return merged


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
    "$add": _null_in_null_out(_add),
    "$subtract": _null_in_null_out(_subtract),
    "$multiply": _null_in_null_out(_multiply),
    "$divide": _null_in_null_out(_divide),
    "$mod": _null_in_null_out(_mod),
    "$pow": _null_in_null_out(_pow),
    "$abs": _null_in_null_out(lambda value: abs(_number(value))),
    "$sqrt": _null_in_null_out(_sqrt),
    "$ceil": _rounding(ROUND_CEILING),
    "$floor": _rounding(ROUND_FLOOR),
    "$round": _rounding(ROUND_HALF_EVEN),
    "$trunc": _rounding(ROUND_DOWN),
    "$sum": _over_values(total),
    "$avg": _over_values(average),
    "$min": _over_values(least),
    "$max": _over_values(greatest),
    "$concat": _null_in_null_out(_concat),
    "$toLower": _cased(str.lower),
    "$toUpper": _cased(str.upper),
    "$strLenCP": lambda arguments: len(_string(arguments[0])),
    "$substrCP": _null_in_null_out(_substring),
    "$split": _null_in_null_out(lambda text, separator: _string(text).split(_string(separator))),
    "$type": lambda arguments: type_name(arguments[0]),
    "$isNumber": lambda arguments: rank(arguments[0]) == NUMBER,
    "$toString": _null_in_null_out(_to_string),
    "$toInt": _null_in_null_out(_to_int),
    "$toDouble": _null_in_null_out(_to_double),
    "$year": _null_in_null_out(lambda date: _date(date).year),
    "$month": _null_in_null_out(lambda date: _date(date).month),
    "$dayOfMonth": _null_in_null_out(lambda date: _date(date).day),
    "$hour": _null_in_null_out(lambda date: _date(date).hour),
    "$minute": _null_in_null_out(lambda date: _date(date).minute),
    "$second": _null_in_null_out(lambda date: _date(date).second),
    "$millisecond": _null_in_null_out(lambda date: _date(date).microsecond // 1000),
    "$size": lambda arguments: len(_array(arguments[0])),
    "$isArray": lambda arguments: isinstance(arguments[0], list),
    "$first": _null_in_null_out(lambda array: _element(array, 0)),
    "$last": _null_in_null_out(lambda array: _element(array, -1)),
    "$arrayElemAt": _null_in_null_out(_element),
    "$slice": _null_in_null_out(_slice),
    "$in": _contains,
    "$concatArrays": _null_in_null_out(_concat_arrays),
    "$reverseArray": _null_in_null_out(lambda array: _array(array)[::-1]),
    "$mergeObjects": _merge_objects,
    "$objectToArray": _null_in_null_out(_object_to_array),
}
