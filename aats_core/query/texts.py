"""The operators of expressions that make strings, and those that make numbers of strings, as MongoDB does it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from aats_core.query.arithmetic import EPOCH, is_finite, is_null, whole
from aats_core.query.numbers import DECIMALS
from aats_core.query.values import MAX_INT, MIN_INT, as_decimal

_MILLISECOND = timedelta(milliseconds=1)
_MOST_INT32 = 2**31
_WHOLE = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE
)
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)


def string(value: Any) -> str:
    """Return a string; raises `TypeError` on anything else."""
    if not isinstance(value, str):
        raise TypeError(f"takes strings, not {value!r}")
    return value


def concatenated(values: Sequence[Any]) -> str | None:
    """Return all the strings as one; null once it meets null, before it looks at what follows."""
    parts = []
    for value in values:
        if is_null(value):
            return None
        parts.append(string(value))
    return "".join(parts)


def _cased(letters: dict[int, int]) -> Callable[[Sequence[Any]], str]:
    return lambda arguments: _as_text(arguments[0]).translate(letters)


lower, upper = _cased(_LOWER), _cased(_UPPER)
"""Only the letters A to Z change."""


def _as_text(value: Any) -> str:
    """Return what casing and cutting take for a string: numbers (floats to six digits), dates, and null as none."""
    if is_null(value):
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool | dict | list | bytes):
        raise TypeError(f"cannot make a string of {value!r}")
    return to_string(value)


def substring(arguments: Sequence[Any]) -> str:
    """Return so many characters of a string, from a position on."""
    text, start, length = arguments
    begin, count = (0 if is_null(value) else whole(value) for value in (start, length))
    if is_null(start) or is_null(length) or begin < 0 or count < 0:
        raise ValueError(f"takes whole numbers of at least 0, not {start!r} and {length!r}")
    return _as_text(text)[begin : begin + count]


def split(text: Any, separator: Any) -> list[str]:
    """Return the parts of a string."""
    if not string(separator):
        raise ValueError("takes a separator that is not empty")
    return string(text).split(separator)


def to_string(value: Any) -> str:
    """Return a number (a float to six digits), a boolean or a date as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0") + f"{value.microsecond // 1000:03}Z"
    if isinstance(value, dict | list | bytes):
        raise TypeError(f"cannot make a string of {value!r}")
    return str(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return f"{value:g}"


def _to_whole(least: int, most: int, *, dates: bool) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, dict | list | bytes) or (isinstance(value, datetime) and not dates):
            raise TypeError(f"cannot make an integer of {value!r}")
        if isinstance(value, datetime):
            return (value - EPOCH) // _MILLISECOND
        if isinstance(value, str) and not _WHOLE.fullmatch(value):
            raise ValueError(f"cannot make an integer of {value!r}")
        if isinstance(value, float | Decimal) and not is_finite(value):
            raise ValueError(f"cannot make an integer of {value!r}")
        result = int(value)
        if not least <= result <= most:
            raise ValueError(f"{result} does not fit into {most.bit_length() + 1} bits")
        return result

    return convert


to_int = _to_whole(-_MOST_INT32, _MOST_INT32 - 1, dates=False)
to_long = _to_whole(MIN_INT, MAX_INT, dates=True)


def to_double(value: Any) -> float:
    """Return a number, a boolean, a date (in milliseconds) or text as a float."""
    if isinstance(value, datetime):
        return float((value - EPOCH) // _MILLISECOND)
    if isinstance(value, dict | list | bytes):
        raise TypeError(f"cannot make a number of {value!r}")
    if isinstance(value, str) and not _FLOAT.fullmatch(value):
        raise ValueError(f"cannot make a number of {value!r}")
    result = float(value)
    if math.isinf(result) and not (isinstance(value, float | str) or not is_finite(value)):
        raise ValueError(f"{value} is beyond the largest float")
    return result


def to_decimal(value: Any) -> Decimal:
    """Return a number, a boolean, a date (in milliseconds) or text as a decimal."""
    if isinstance(value, datetime):
        return Decimal((value - EPOCH) // _MILLISECOND)
    if isinstance(value, dict | list | bytes):
        raise TypeError(f"cannot make a number of {value!r}")
    try:
        return as_decimal(value) if isinstance(value, float) else DECIMALS.create_decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"cannot make a number of {value!r}") from error
