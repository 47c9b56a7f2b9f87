"""The stored form of documents: JSON whose values SQLite compares.

Letters and what follows them are chosen so that tagged strings sort as MongoDB sorts their types: after all other
strings, binary data by its length, dates by their time.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.query.values import MAX_INT, MIN_INT, normal
from aats_core.storage.stored_form import MARK, StoredForm, binary_of, binary_text, date_text

NULL = MARK + "a"  # only in keys of `_id`
NAN = MARK + "e"  # then f for a float or d for a decimal
DECIMAL = MARK + "n"  # then the nearest integer or float, and after a space its digits where these differ
STRING = MARK + "s"  # then a string that begins with the mark itself
OBJECT = MARK + "t"  # stands for any object in a key
ARRAY = MARK + "u"  # stands for any array in a key
BINARY = MARK + "v"  # then its text
BOOLEAN = MARK + "w"  # then 0 or 1; only in keys
DATE = MARK + "x"  # then its text


class _Json(StoredForm):
    """What SQLite's JSON functions read: infinity is a number that is too large."""

    def scalar(self, value: Any) -> Any:
        if value.__class__ is float and math.isinf(value):
            return msgspec.Raw(b"9e999" if value > 0 else b"-9e999")
        tagged = tag(value)
        return value if tagged is None else tagged

    def restored(self, text: str) -> Any:
        return _RESTORED[text[1]](text[2:]) if text.startswith(MARK) else text

    def repaired(self, text: str, error: msgspec.DecodeError) -> Any:
        return json.loads(text) if "9e999" in text else super().repaired(text, error)


_FORM = _Json(plain_below=math.inf)
encode, decode, decode_all = _FORM.encode, _FORM.decode, _FORM.decode_all


def tag(value: Any) -> str | None:
    """Return the tagged string of a scalar value that JSON lacks, or None where it needs none."""
    if isinstance(value, str):
        return STRING + value if value.startswith(MARK) else None
    if isinstance(value, datetime):
        return DATE + date_text(value)
    if isinstance(value, bytes):
        return BINARY + binary_text(value)
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


def restored(value: Any) -> Any:
    """Return the value that the stored form of a scalar stands for."""
    return _FORM.restored(value) if value.__class__ is str else value


def _decimal(text: str) -> Decimal:
    return Decimal(text.rpartition(" ")[2])


_RESTORED = {
    NAN[1]: lambda kind: math.nan if kind == "f" else Decimal("NaN"),
    DECIMAL[1]: _decimal,
    STRING[1]: lambda text: text,
    BINARY[1]: binary_of,
    DATE[1]: datetime.fromisoformat,
}
