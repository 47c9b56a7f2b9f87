"""The stored form of documents: JSON text that PostgreSQL can compare; what JSON lacks are tagged strings.

A tagged string begins with the last character of Unicode and a letter that tells its type. Within a type they sort,
by their bytes, as MongoDB sorts its values: binary data by its length, dates by their time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.errors import StoreError
from aats_core.query.values import MAX_INT, MIN_INT, normal

MARK = "\U0010ffff"
"""What a tagged string begins with."""

NAN = "e"  # then f for a float or d for a decimal
INFINITY = "i"  # a float: then Infinity or -Infinity
DECIMAL = "n"  # then its digits
STRING = "s"  # then a string that begins with the mark itself
BINARY = "v"  # then the length in eight hexadecimal digits, then the bytes in hexadecimal
DATE = "x"  # then the time in UTC, 2026-01-31T23:59:59.999Z

EXACT = 2.0**53
"""From here on floats are whole, and are written with all of their digits, so that they compare with integers."""

_SAFE_DEPTH = 90
_ESCAPED = re.compile("[\0\1]")
_UNESCAPED = re.compile("\1([\1\2])")
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


def encode(value: Any, place: str = "document") -> str:
    """Return the stored form of a value; raises `InvalidDocument`, naming the place, where it holds what none keeps."""
    if _are_plain((value,), 0):
        try:
            text = _encode_json(value).decode()
        except UnicodeEncodeError:
            text = MARK
        if MARK not in text and "\\u0000" not in text and "\\u0001" not in text:
            return text
    return _encode_json(_tagged(normal(value, place))).decode()


def decode(text: str) -> Any:
    """Return the value of a stored form."""
    try:
        value = _decode_json(text)
    except msgspec.DecodeError as error:
        raise StoreError(f"the database holds a document that is no JSON, it is damaged: {error}") from error
    return _untagged(value) if MARK in text or "\\u0001" in text else value


def _is_plain_object(value: dict[Any, Any], depth: int) -> bool:
    return {*map(type, value)} <= _STRINGS and _are_plain(value.values(), depth)


def _are_plain(values: Iterable[Any], depth: int) -> bool:
    """Tell whether the encoder for JSON keeps all of these values, and what they hold, as they are."""
    for value in values:
        kind = value.__class__
        if kind is str or kind is bool or value is None:
            continue
        if kind is int:
            if not MIN_INT <= value <= MAX_INT:
                return False
        elif kind is float:
            if not -EXACT < value < EXACT:
                return False
        elif kind is dict:
            if depth > _SAFE_DEPTH or not _is_plain_object(value, depth + 1):
                return False
        elif (kind is not list and kind is not tuple) or depth > _SAFE_DEPTH or not _are_plain(value, depth + 1):
            return False
    return True


_STRINGS = frozenset({str})


def _tagged(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return {name: _tagged(item) for name, item in value.items()}
    if kind is list:
        return [_tagged(item) for item in value]
    if kind is float and EXACT <= abs(value) < math.inf:
        return msgspec.Raw(f"{int(value)}.0".encode())
    return stored(value)


def stored(value: Any) -> Any:
    """Return what stands in JSON for a scalar value."""
    if isinstance(value, str):
        text = _ESCAPED.sub(_escape, value) if "\0" in value or "\1" in value else value
        return MARK + STRING + text if value.startswith(MARK) else text
    if isinstance(value, datetime):
        return f"{MARK}{DATE}{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
    if isinstance(value, bytes):
        return f"{MARK}{BINARY}{len(value):08x}{value.hex()}"
    if isinstance(value, Decimal):
        return f"{MARK}{NAN}d" if value.is_nan() else f"{MARK}{DECIMAL}{value}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{MARK}{NAN}f" if math.isnan(value) else f"{MARK}{INFINITY}{Decimal(value)}"
    return value


def json_of(value: Any) -> str:
    """Return the JSON text of a scalar value."""
    return _encode_json(_tagged(normal(value))).decode()


def _escape(found: re.Match[str]) -> str:
    """Return what stands for a character that PostgreSQL cannot hold, and for the one that stands for it, in order."""
    return "\1\1" if found[0] == "\0" else "\1\2"


def _unescape(found: re.Match[str]) -> str:
    return "\0" if found[1] == "\1" else "\1"


def _untagged(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return {name: _untagged(item) for name, item in value.items()}
    if kind is list:
        return [_untagged(item) for item in value]
    if kind is not str:
        return value
    return _UNTAG[value[1]](value[2:]) if value.startswith(MARK) else unescaped(value)


def unescaped(text: str) -> str:
    """Return the string that an untagged one stands for."""
    return _UNESCAPED.sub(_unescape, text) if "\1" in text else text


_UNTAG = {
    NAN: lambda kind: math.nan if kind == "f" else Decimal("NaN"),
    INFINITY: float,
    DECIMAL: Decimal,
    STRING: unescaped,
    BINARY: lambda text: bytes.fromhex(text[8:]),
    DATE: datetime.fromisoformat,
}
