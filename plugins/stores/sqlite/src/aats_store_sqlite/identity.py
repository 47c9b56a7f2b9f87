"""Keys that are the same for equal values, whatever their types: by these `_id`s and unique values are told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.errors import InvalidDocument
from aats_core.query.values import MAX_INT, MIN_INT, MISSING, normal
from aats_core.storage.stored_form import MARK
from aats_store_sqlite.codec import BOOLEAN, DECIMAL, NAN, NULL, OBJECT, tag


def id_key(value: Any) -> str | int | float:
    """Return what an `_id` is stored under: the same for equal ones, a number for every number.

    Raises `InvalidDocument` for an array, as MongoDB does.
    """
    if value.__class__ is str and not value.startswith(MARK):
        return value
    if value.__class__ is int and MIN_INT <= value <= MAX_INT:
        return value
    return _other_key(normal(value, "_id"))


def _other_key(value: Any) -> str | int | float:
    if isinstance(value, list):
        raise InvalidDocument("_id: an array cannot be an _id")
    if isinstance(value, bool):
        return f"{BOOLEAN}{value:d}"
    if value is None:
        return NULL
    if isinstance(value, dict):
        return OBJECT + _canonical(value)
    if isinstance(value, Decimal):
        return _decimal_key(value)
    if isinstance(value, float) and math.isnan(value):
        return NAN
    return tag(value) or value


def _decimal_key(value: Decimal) -> str | int | float:
    if value.is_nan():
        return NAN
    if value == value.to_integral_value() and MIN_INT <= value <= MAX_INT:
        return int(value)
    if value.is_infinite() or Decimal(float(value)) == value:
        return float(value)
    return DECIMAL + str(value.normalize())


def index_key(values: Sequence[Any]) -> str:
    """Return the key of the values that a document has in an index; nothing counts as null."""
    return _canonical([None if value is MISSING else value for value in values])


def _canonical(value: Any) -> str:
    return msgspec.json.encode(_keyed(value)).decode()


def _keyed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _keyed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_keyed(item) for item in value]
    key = _other_key(value)
    if not isinstance(key, float):
        return key
    if math.isinf(key):
        return f"{DECIMAL}{key}"
    return int(key) if key.is_integer() else key
