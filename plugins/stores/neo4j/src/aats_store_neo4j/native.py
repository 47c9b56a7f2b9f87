"""What of a document Neo4j has as properties beside its exact form: what Cypher can compare as documents compare.

A value that the way to no array leads to, and that Neo4j compares as MongoDB does, is a property named by its path,
`address.city`. Everything else is a key among others in the list `aats:all:<path>`, beside the mark `aats:many:<path>`:
each element of an array, whatever lies within one, nulls, decimals, binary data, long strings; of objects and arrays
only that they are there.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from functools import lru_cache
from typing import Any

from aats_core.query.filters import Path
from aats_core.query.shape import EXACT_INT
from aats_core.query.values import ARRAY, NULL, NUMBER, OBJECT, rank
from aats_core.storage.evaluated.keys import LETTERS, number_key, scalar_key

ALL, MANY, INEXACT = "aats:all:", "aats:many:", "aats:inexact"

_NAME = re.compile(r"[^\W\d][\w -]{0,99}")
_MOST_PARTS = 8
LONGEST = 500
"""Characters of a string that counts in full; an index of Neo4j holds no key of more than 8 kB."""


@lru_cache(4096)
def is_native_name(name: str) -> bool:
    """Tell whether a field's name can be part of a property's name: it needs no escaping and is none of ours."""
    return _NAME.fullmatch(name) is not None


def property_name(path: Path) -> str | None:
    """Return the name of the property for what is at a path, safe between backticks; None where there is none."""
    if len(path) > _MOST_PARTS or not all(map(is_native_name, path)):
        return None
    return ".".join(path)


def is_native(value: Any) -> bool:
    """Tell whether a value can be a property whose comparisons mean what they mean for documents."""
    kind = value.__class__
    if kind is str:
        return len(value) <= LONGEST
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(abs(value) <= EXACT_INT)  # beyond, Cypher compares integers with floats as floats
    return kind is bool or kind is datetime


def value_key(value: Any) -> str:
    """Return the key of a value in a list: the same for equal ones, and sorted as these are."""
    kind = rank(value)
    if kind == NUMBER:
        return number_key(value)
    if kind in (NULL, OBJECT, ARRAY):
        return LETTERS[kind]
    return scalar_key(value)[: LONGEST + 1]


def native_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an object that can be properties of its own."""
    return {name: value for name, value in fields.items() if is_native_name(name) and is_native(value)}


def native_values(document: dict[str, Any]) -> dict[str, Any]:
    """Return the properties that stand for what a document holds."""
    properties: dict[str, Any] = {}
    lists: dict[str, set[str]] = {}
    if not _object(document, "", properties, lists, 1):
        properties[INEXACT] = True
    for name, keys in lists.items():
        properties[ALL + name] = sorted(keys)
        properties[MANY + name] = True
    return properties


def _object(
    node: dict[str, Any], prefix: str, properties: dict[str, Any] | None, lists: dict[str, set[str]], depth: int
) -> bool:
    """Add what an object holds, to lists alone where an array leads to it; tells whether all of it is exact."""
    exact = True
    for field, value in node.items():
        if not is_native_name(field):
            continue
        name = prefix + field
        if properties is not None and is_native(value):
            properties[name] = value
            continue
        keys = lists.setdefault(name, set())
        keys.add(value_key(value))
        exact &= _is_exact(value)
        for element in value if value.__class__ is list else ():
            keys.add(value_key(element))
            exact &= _is_exact(element)
            if element.__class__ is dict and depth < _MOST_PARTS:
                exact &= _object(element, f"{name}.", None, lists, depth + 1)
        if value.__class__ is dict and depth < _MOST_PARTS:
            exact &= _object(value, f"{name}.", properties, lists, depth + 1)
    return exact


def _is_exact(value: Any) -> bool:
    """Tell whether no other number has the key of this one."""
    return rank(value) != NUMBER or value != value or float(value) == value
