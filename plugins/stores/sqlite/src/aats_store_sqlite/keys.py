"""SQL expressions for the value at a path: one key that SQLite compares and indexes as MongoDB compares values.

The key of null and of nothing is NULL, of a number the number, of a string the string; other values have the tagged
strings of `codec`, which sort after all strings in MongoDB's order of types. An object's key and an array's say only
what they are. Where an array lies on the way to the end of the path, the key is that of an array.
"""

from __future__ import annotations

import re
from functools import lru_cache

from aats_core.query.filters import Path
from aats_core.storage.stored_form import MARK
from aats_store_sqlite.codec import ARRAY, BOOLEAN, DECIMAL, OBJECT, STRING

_SIMPLE = re.compile(r'[^"\\\x00-\x1f]+')


def is_expressible(path: Path) -> bool:
    """Tell whether SQLite's JSON paths can name every part of a path."""
    return all(map(_SIMPLE.fullmatch, path))


@lru_cache(maxsize=4096)
def json_path(path: Path) -> str:
    """Return a path as a literal for SQLite's JSON functions, through objects only."""
    joined = "".join(f'."{part}"' for part in path).replace("'", "''")
    return f"'${joined}'"


def type_at(path: Path, document: str) -> str:
    """Return the expression of the JSON type at a path, NULL where there is nothing."""
    return f"json_type({document}, {json_path(path)})"


def value_at(path: Path, document: str) -> str:
    """Return the expression of the stored value at a path."""
    return f"json_extract({document}, {json_path(path)})"


@lru_cache(maxsize=4096)
def key_at(path: Path, document: str = "doc") -> str:
    """Return the expression of the key at a path; an index over it has this very text."""
    key = key_of(type_at(path, document), value_at(path, document))
    arrays = " OR ".join(f"{type_at(path[:end], document)} = 'array'" for end in range(1, len(path)))
    return f"(CASE WHEN {arrays} THEN '{ARRAY}' ELSE {key} END)" if arrays else key


def key_of(kind: str, value: str) -> str:
    """Return the expression of a key, given those of the JSON type and the stored value."""
    return (
        f"(CASE {kind} WHEN 'text' THEN"
        f" CASE WHEN {value} < '{MARK}' OR {value} >= '{STRING}' THEN {value}"
        f" WHEN {value} >= '{DECIMAL}' THEN CAST(substr({value}, 3) AS NUMERIC) ELSE -9e999 END"
        f" WHEN 'true' THEN '{BOOLEAN}1' WHEN 'false' THEN '{BOOLEAN}0'"
        f" WHEN 'object' THEN '{OBJECT}' WHEN 'array' THEN '{ARRAY}' ELSE {value} END)"
    )


def rest_at(path: Path) -> str:
    """Return the expression of what a number's key leaves out: by how much a decimal differs from it, NULL for NaN."""
    tagged = f"{type_at(path, 'doc')} = 'text' AND {key_at(path)} < ''"
    return f"(CASE WHEN {tagged} THEN aats_rest({value_at(path, 'doc')}) ELSE 0 END)"
