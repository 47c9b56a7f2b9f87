"""Keys of values: of `_id`s, which sort as MongoDB sorts their values, and of the values in unique indexes.

Equal values have equal keys, whatever their types. A key begins with a letter for the class of its value.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.errors import InvalidDocument
from aats_core.query import values
from aats_core.query.values import MISSING, normal, rank
from aats_store_postgres.codec import stored

LETTERS = {
    values.NULL: "a",
    values.NUMBER: "n",
    values.STRING: "s",
    values.OBJECT: "t",
    values.ARRAY: "u",
    values.BINARY: "v",
    values.BOOLEAN: "w",
    values.DATE: "x",
}
"""What a key begins with, by the class of its value; no `_id` is an array."""

NAN = "e"
MOST_BYTES = 2000
"""How long a key may be: a B-tree page of PostgreSQL holds no longer ones."""

_SURELY_FITS = MOST_BYTES // 4
"""How many characters are no longer than that, whatever they are."""

_ZERO_EXPONENT = 20_000
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


def new_key(value: Any) -> str:
    """Return the key of the `_id` of a document that is written; `InvalidDocument` where it can be none."""
    if value.__class__ is str and len(value) < _SURELY_FITS and value.isprintable():
        return "s" + value
    key = id_key(value)
    if len(key) > _SURELY_FITS and len(key.encode()) > MOST_BYTES:
        raise InvalidDocument(f"_id: {len(key.encode())} bytes are too long for an _id; {MOST_BYTES} are the most")
    return key


def id_key(value: Any) -> str:
    """Return what an `_id` is stored under. Raises `InvalidDocument` for an array, as MongoDB does."""
    if value.__class__ is str and value.isprintable():
        return "s" + value
    value = normal(value, "_id")
    if isinstance(value, list):
        raise InvalidDocument("_id: an array cannot be an _id")
    kind = rank(value)
    if kind == values.NUMBER:
        return _number_key(value)
    if isinstance(value, bool):
        return f"w{value:d}"
    if isinstance(value, bytes | datetime):
        return f"{LETTERS[kind]}{stored(value)[2:]}"
    if isinstance(value, dict):
        return LETTERS[kind] + msgspec.json.encode(_keyed(value)).decode()
    return LETTERS[kind] if value is None else f"{LETTERS[kind]}{stored(value)}"


def _number_key(value: float | Decimal) -> str:
    """Return a key that sorts by value: sign, exponent, digits; those of negative numbers complemented."""
    if value != value:
        return NAN
    if value == 0:
        return "no"
    if isinstance(value, Decimal | float) and math.isinf(value):
        return "np~" if value > 0 else "nm!"
    sign, digits, exponent = Decimal(value).as_tuple()
    written = "".join(map(str, digits))
    assert isinstance(exponent, int), "the number is finite"
    magnitude = f"{len(written) + exponent + _ZERO_EXPONENT:05d}{written.rstrip('0')}"
    return f"nm{magnitude.translate(_COMPLEMENT)}~" if sign else f"np{magnitude}"


def index_key(found: Sequence[Any]) -> bytes:
    """Return the key of the values that a document has in a unique index; nothing counts as null."""
    canonical = msgspec.json.encode([_keyed(None if value is MISSING else value) for value in found])
    return hashlib.blake2b(canonical, digest_size=24).digest()


def _keyed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _keyed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_keyed(item) for item in value]
    return id_key(value)
