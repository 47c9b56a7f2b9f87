"""The stored form of documents: JSON text whose values SQLite compares; what JSON lacks are tagged strings.

A tagged string begins with the last character of Unicode and a letter. Letters and what follows them are chosen so
that tagged strings sort as MongoDB sorts their types: after all other strings, binary data by its length, dates by
their time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.errors import StoreError
from aats_core.query.values import MAX_INT, MIN_INT, normal

MARK = "\U0010ffff"
"""What a tagged string begins with."""

NULL = MARK + "a"  # only in keys of `_id`
NAN = MARK + "e"  # then f for a float or d for a decimal
DECIMAL = MARK + "n"  # then the nearest integer or float, and after a space its digits where these differ
STRING = MARK + "s"  # then a string that begins with the mark itself
OBJECT = MARK + "t"  # stands for any object in a key
ARRAY = MARK + "u"  # stands for any array in a key
BINARY = MARK + "v"  # then the length in eight hexadecimal digits, then the bytes in hexadecimal
BOOLEAN = MARK + "w"  # then 0 or 1; only in keys
DATE = MARK + "x"  # then the time in UTC, 2026-01-31T23:59:59.999Z

_SAFE_DEPTH = 90
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


def encode(value: Any, place: str = "document") -> str:
    """Return the stored form of a value; raises `InvalidDocument`, naming the place, where it holds what none keeps."""
    if _are_plain((value,), 0):
        try:
            text = _encode_json(value).decode()
        except UnicodeEncodeError:
            text = MARK
        if MARK not in text and "\\u0000" not in text:
            return text
    return _encode_json(_tagged(normal(value, place))).decode()


def decode(text: str) -> Any:
    """Return the value of a stored form."""
    try:
        value = _decode_json(text)
    except msgspec.DecodeError as error:
        if "9e999" not in text:
            raise StoreError(f"the database holds a document that is no JSON, it is damaged: {error}") from error
        value = json.loads(text)
    return _untagged(value) if MARK in text else value


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
            if value - value != 0.0:
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
    if kind is float and math.isinf(value):
        return msgspec.Raw(b"9e999" if value > 0 else b"-9e999")
    tagged = tag(value)
    return value if tagged is None else tagged


def tag(value: Any) -> str | None:
    """Return the tagged string of a scalar value that JSON lacks, or None where it needs none."""
    if isinstance(value, str):
        return STRING + value if value.startswith(MARK) else None
    if isinstance(value, datetime):
        return f"{DATE}{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
    if isinstance(value, bytes):
        return f"{BINARY}{len(value):08x}{value.hex()}"
    if isinstance(value, Decimal):
        return _tagged_decimal(value)
    if isinstance(value, float) and math.isnan(value):
        return NAN + "f"
    return None


def _tagged_decimal(value: Decimal) -> str:
    if value.is_nan():
        return NAN + "d"
    written = str(value)
    is_int = value.is_finite() and MIN_INT <= value <= MAX_INT and value == value.to_integral_value()
    nearest = str(int(value)) if is_int else repr(float(value)).replace("inf", "9e999")
    return f"{DECIMAL}{nearest}" if nearest == written else f"{DECIMAL}{nearest} {written}"


def scalar_key(value: Any) -> Any:
    """Return the key, as `keys` computes it from the stored form, of a string, date, boolean or of binary data."""
    if value.__class__ is str and not value.startswith(MARK):
        return value
    if value.__class__ is bool:
        return f"{BOOLEAN}{value:d}"
    return tag(normal(value)) or value


def stored(value: Any) -> Any:
    """Return the value that the stored form of a scalar stands for."""
    return _untagged(value)


def _untagged(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return {name: _untagged(item) for name, item in value.items()}
    if kind is list:
        return [_untagged(item) for item in value]
    if kind is str and value.startswith(MARK):
        return _UNTAG[value[1]](value[2:])
    return value


def _decimal(text: str) -> Decimal:
    return Decimal(text.rpartition(" ")[2])


_UNTAG = {
    NAN[1]: lambda kind: math.nan if kind == "f" else Decimal("NaN"),
    DECIMAL[1]: _decimal,
    STRING[1]: lambda text: text,
    BINARY[1]: lambda text: bytes.fromhex(text[8:]),
    DATE[1]: datetime.fromisoformat,
}
