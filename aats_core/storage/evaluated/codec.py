"""The stored form of documents: JSON text; what JSON lacks are strings that begin with a mark and a letter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.errors import StoreError
from aats_core.query.values import MAX_INT, MIN_INT, normal

MARK = "\U0010ffff"
"""What a tagged string begins with."""

DECIMAL = "n"  # then its digits, or NaN
FLOAT = "f"  # then nan, inf or -inf
STRING = "s"  # then a string that begins with the mark itself
BINARY = "v"  # then the bytes in hexadecimal
DATE = "x"  # then the time in UTC, 2026-01-31T23:59:59.999+00:00

_MARK_BYTES = MARK.encode()
_SAFE_DEPTH = 90
_STRINGS = frozenset({str})
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


def encode(value: Any, place: str = "document") -> bytes:
    """Return the stored form of a value; raises `InvalidDocument`, naming the place, where it holds what none keeps."""
    if _are_plain((value,), 0):
        try:
            text = _encode_json(value)
        except UnicodeEncodeError:
            text = _MARK_BYTES
        if _MARK_BYTES not in text and b"\\u0000" not in text:
            return text
    return _encode_json(_tagged(normal(value, place)))


def decode(text: bytes) -> Any:
    """Return the value of a stored form."""
    try:
        value = _decode_json(text)
    except msgspec.DecodeError as error:
        raise StoreError(f"the database holds a document that is no JSON, it is damaged: {error}") from error
    return _untagged(value) if _MARK_BYTES in text else value


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
            if value - value != 0.0:
                return False
        elif kind is dict:
            if depth > _SAFE_DEPTH or not _is_plain_object(value, depth + 1):
                return False
        elif (kind is not list and kind is not tuple) or depth > _SAFE_DEPTH or not _are_plain(value, depth + 1):
            return False
    return True


def _is_plain_object(value: dict[Any, Any], depth: int) -> bool:
    return {*map(type, value)} <= _STRINGS and _are_plain(value.values(), depth)


def _tagged(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return {name: _tagged(item) for name, item in value.items()}
    if kind is list:
        return [_tagged(item) for item in value]
    if kind is str:
        return f"{MARK}{STRING}{value}" if value.startswith(MARK) else value
    if kind is float:
        return value if math.isfinite(value) else f"{MARK}{FLOAT}{value}"
    if kind is Decimal:
        return f"{MARK}{DECIMAL}{value}"
    if kind is bytes:
        return f"{MARK}{BINARY}{value.hex()}"
    if kind is datetime:
        return f"{MARK}{DATE}{value.isoformat(timespec='milliseconds')}"
    return value


def _untagged(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return {name: _untagged(item) for name, item in value.items()}
    if kind is list:
        return [_untagged(item) for item in value]
    if kind is str and value.startswith(MARK):
        return _UNTAG[value[1]](value[2:])
    return value


_UNTAG: dict[str, Callable[[str], Any]] = {
    DECIMAL: Decimal,
    FLOAT: float,
    STRING: str,
    BINARY: bytes.fromhex,
    DATE: datetime.fromisoformat,
}
