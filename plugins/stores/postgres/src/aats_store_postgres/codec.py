"""The stored form of documents: JSON that PostgreSQL can compare.

Within a type tagged strings sort, by their bytes, as MongoDB sorts its values: binary data by its length, dates by
their time.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.query.values import normal
from aats_core.storage.stored_form import MARK, StoredForm, binary_of, binary_text, date_text

NAN = "e"  # then f for a float or d for a decimal
INFINITY = "i"  # a float: then Infinity or -Infinity
DECIMAL = "n"  # then its digits
STRING = "s"  # then a string that begins with the mark itself
BINARY = "v"  # then its text
DATE = "x"  # then its text

EXACT = 2.0**53
"""From here on floats are whole, and are written with all of their digits, so that they compare with integers."""

_ESCAPED = re.compile("[\0\1]")
_UNESCAPED = re.compile("\1([\1\2])")


class _Jsonb(StoredForm):
    """What JSONB holds: no NUL character, and numbers that compare by their digits."""

    def scalar(self, value: Any) -> Any:
        if value.__class__ is float and EXACT <= abs(value) < math.inf:
            return msgspec.Raw(f"{int(value)}.0".encode())
        return stored(value)

    def restored(self, text: str) -> Any:
        return _RESTORED[text[1]](text[2:]) if text.startswith(MARK) else unescaped(text)


_FORM = _Jsonb(plain_below=EXACT, escape="\\u0001")
encode, decode, decode_all = _FORM.encode, _FORM.decode, _FORM.decode_all


def stored(value: Any) -> Any:
    """Return what stands in JSON for a scalar value."""
    if isinstance(value, str):
        text = _ESCAPED.sub(_escape, value) if "\0" in value or "\1" in value else value
        return MARK + STRING + text if value.startswith(MARK) else text
    if isinstance(value, datetime):
        return MARK + DATE + date_text(value)
    if isinstance(value, bytes):
        return MARK + BINARY + binary_text(value)
    if isinstance(value, Decimal):
        return f"{MARK}{NAN}d" if value.is_nan() else f"{MARK}{DECIMAL}{value}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{MARK}{NAN}f" if math.isnan(value) else f"{MARK}{INFINITY}{Decimal(value)}"
    return value


def json_of(value: Any) -> str:
    """Return the JSON text of a scalar value."""
    return msgspec.json.encode(_FORM.scalar(normal(value))).decode()


def _escape(found: re.Match[str]) -> str:
    """Return what stands for a character that PostgreSQL cannot hold, and for the one that stands for it, in order."""
    return "\1\1" if found[0] == "\0" else "\1\2"


def _unescape(found: re.Match[str]) -> str:
    return "\0" if found[1] == "\1" else "\1"


def unescaped(text: str) -> str:
    """Return the string that an untagged one stands for."""
    return _UNESCAPED.sub(_unescape, text) if "\1" in text else text


_RESTORED = {
    NAN: lambda kind: math.nan if kind == "f" else Decimal("NaN"),
    INFINITY: float,
    DECIMAL: Decimal,
    STRING: unescaped,
    BINARY: binary_of,
    DATE: datetime.fromisoformat,
}
