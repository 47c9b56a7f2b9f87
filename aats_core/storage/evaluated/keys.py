"""Keys of values: the same for equal ones, whatever their types. Documents lie under the keys of their `_id`s."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aats_core.errors import InvalidDocument
from aats_core.query import values
from aats_core.query.filters import And, Clause, Compare, Comparison, In
from aats_core.query.match import values_of
from aats_core.query.values import MISSING, normal, rank
from aats_core.storage.collection import KnownCollection, indexed_values
from aats_core.store import Document

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
"""What a key begins with, by the class of its value; they sort as MongoDB sorts the classes."""

NAN = "e"

_pack, _unpack = struct.Struct(">d").pack, struct.Struct(">Q").unpack
_SIGN = 1 << 63


def id_key(value: Any) -> str:
    """Return what a document with that `_id` lies under. Raises `InvalidDocument` for an array, as MongoDB does."""
    if value.__class__ is str and value.isprintable():
        return f"s{value}"
    value = normal(value, "_id")
    if value.__class__ is list:
        raise InvalidDocument("_id: an array cannot be an _id")
    kind = rank(value)
    if kind == values.NUMBER:
        return _exact_number_key(value)
    if kind == values.OBJECT:
        return LETTERS[kind] + msgspec.json.encode(_keyed(value)).decode()
    return scalar_key(value)


def scalar_key(value: Any) -> str:
    """Return the key of a value that is neither number, object nor array; within a class keys sort as values do."""
    letter = LETTERS[rank(value)]
    if value.__class__ is str:
        return letter + value
    if value.__class__ is bytes:
        return f"{letter}{len(value):08x}{value.hex()}"
    if value.__class__ is datetime:
        return letter + value.isoformat(timespec="milliseconds")
    return f"{letter}{value:d}" if value.__class__ is bool else letter


def number_key(value: float | Decimal) -> str:
    """Return the key of the float that is nearest to a number; keys sort as numbers do."""
    if value != value:
        return NAN
    (bits,) = _unpack(_pack(float(value) or 0.0))
    return f"n{bits ^ _SIGN if bits < _SIGN else ~bits & (2 * _SIGN - 1):016x}"


def _exact_number_key(value: float | Decimal) -> str:
    key = number_key(value)
    if value != value or float(value) == value:
        return key
    sign, digits, exponent = Decimal(value).as_tuple()
    written = "".join(map(str, digits))
    plain = written.rstrip("0")
    return f"{key}~{'-' if sign else ''}{plain}e{int(exponent) + len(written) - len(plain)}"


def _keyed(value: Any) -> Any:
    if value.__class__ is dict:
        return {name: _keyed(item) for name, item in value.items()}
    if value.__class__ is list:
        return [_keyed(item) for item in value]
    return id_key(value)


def claims_of(collection: KnownCollection, document: Document) -> list[str]:
    """Return the keys that a document holds in unique indexes, which no other may hold; nothing counts as null.

    Each begins with the number of its index.
    """
    return [
        f"{number}:{_digest(row)}"
        for number, index in collection.unique
        for row in dict.fromkeys(map(_row_key, indexed_values(document, index)))
    ]


def _row_key(row: Sequence[Any]) -> bytes:
    return msgspec.json.encode([_keyed(None if value is MISSING else value) for value in row])


def _digest(row: bytes) -> str:
    return hashlib.blake2b(row, digest_size=20).hexdigest()


def wanted_keys(clause: Clause) -> list[str] | None:
    """Return the keys of the only documents that can match, or None where the filter names no `_id`s."""
    if isinstance(clause, And):
        return next((keys for each in clause.clauses if (keys := wanted_keys(each)) is not None), None)
    if isinstance(clause, Compare) and clause.path == ("_id",) and clause.comparison is Comparison.EQ:
        return _keys([clause.operand])
    if isinstance(clause, In) and clause.path == ("_id",) and not clause.patterns:
        return _keys(values_of(clause))
    return None


def is_about_id(clause: Clause) -> bool:
    """Tell whether a clause asks for one `_id` and nothing else, so that what lies under its key is what matches."""
    return (
        isinstance(clause, Compare)
        and clause.path == ("_id",)
        and clause.comparison is Comparison.EQ
        and clause.operand.__class__ is not list
    )


def _keys(ids: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(id_key(each) for each in ids if each.__class__ is not list))
