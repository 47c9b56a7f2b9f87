"""SQL expressions for a value within a document: key, number and text, which together sort as MongoDB sorts.

The key is a text that begins with the letter of the value's class, as the keys of `_id`s do; that of a string, a date
or of binary data goes on with its first characters. A number has its value in the second expression. Where an array
lies on the way to the end of a path, the key is that of an array. Indexes are made of these expressions, to the letter.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from aats_core.query import values
from aats_core.query.filters import Path
from aats_core.storage.stored_form import MARK
from aats_store_postgres.codec import BINARY, DATE, DECIMAL, INFINITY
from aats_store_postgres.codec import NAN as NAN_TAG
from aats_store_postgres.identity import LETTERS, NAN

NULL, NUMBER, STRING = LETTERS[values.NULL], LETTERS[values.NUMBER], LETTERS[values.STRING]
OBJECT, ARRAY = LETTERS[values.OBJECT], LETTERS[values.ARRAY]
FALSE, TRUE = f"{LETTERS[values.BOOLEAN]}0", f"{LETTERS[values.BOOLEAN]}1"
"""The keys of values that have no others, and what those of strings begin with."""

_CONTROL = re.compile("[\x01-\x1f]")

LENGTH = 200
"""So many characters of a text stand in a key."""

_UNCLEAR = f"{{{', '.join(str(ord(first)) for first in f'-0123456789[{{tf{MARK}')}, 0}}"
"""With what characters a text may begin of which not even that tells that its value is a string.

Most strings begin with others; then there is no need for their type, which is what costs most to find out.
"""


class Target(msgspec.Struct, frozen=True):
    """A value in a row: its JSON, its text, and the expressions made of these."""

    json: str
    text: str
    key: str
    number: str
    holds_array: str
    """Whether the value is an array, none lying on the way to it: what an index over elements is about."""
    ways: tuple[str, ...]
    """Whether arrays lie on the way to it, each a condition."""

    @property
    def full(self) -> str:
        """The whole text, which compares by its bytes."""
        return f'({self.text} COLLATE "C")'

    @property
    def order(self) -> tuple[str, ...]:
        """What to sort by; an index over the value has the first two."""
        return (self.key, self.number, self.full)


@lru_cache(maxsize=4096)
def target_at(path: Path, document: str = "doc") -> Target:
    """Return what is at a path of a document, through objects only."""
    above = "".join(f"->{literal(part)}" for part in path[:-1])
    json, text = f"({document}{above}->{literal(path[-1])})", f"({document}{above}->>{literal(path[-1])})"
    ways = [f"{document}{''.join(f'->{literal(part)}' for part in path[:end])}" for end in range(1, len(path))]
    return _target(json, text, [f"jsonb_typeof({way}) = 'array'" for way in ways])


def target_of(value: str) -> Target:
    """Return what an expression of JSON is."""
    return _target(value, f"({value} #>> '{{}}')", [])


def _target(json: str, text: str, arrays: list[str]) -> Target:
    is_tagged, tag, first = f"starts_with({text}, '{MARK}')", f"substr({text}, 2, 1)", f"ascii({text})"
    string = f"'{STRING}' || left({text}, {LENGTH})"
    of_tagged = (
        f"CASE WHEN {tag} IN ('{DECIMAL}', '{INFINITY}') THEN '{NUMBER}' WHEN {tag} = '{NAN_TAG}' THEN '{NAN}'"
        f" WHEN {tag} IN ('{BINARY}', '{DATE}') THEN substr({text}, 2, {LENGTH}) ELSE {string} END"
    )
    key = (
        f"CASE WHEN {first} <> ALL ('{_UNCLEAR}') THEN {string} ELSE CASE jsonb_typeof({json})"
        f" WHEN 'string' THEN CASE WHEN {is_tagged} THEN {of_tagged} ELSE {string} END"
        f" WHEN 'number' THEN '{NUMBER}' WHEN 'object' THEN '{OBJECT}' WHEN 'array' THEN '{ARRAY}'"
        f" WHEN 'boolean' THEN CASE {text} WHEN 'true' THEN '{TRUE}' ELSE '{FALSE}' END ELSE '{NULL}' END END"
    )
    if arrays:
        key = f"CASE WHEN {' OR '.join(arrays)} THEN '{ARRAY}' ELSE {key} END"
    number = (
        f"(CASE WHEN {first} = ANY ('{_UNCLEAR}') THEN CASE WHEN jsonb_typeof({json}) = 'number' THEN {json}::numeric"
        f" WHEN {is_tagged} AND {tag} IN ('{DECIMAL}', '{INFINITY}') THEN substr({text}, 3)::numeric END END)"
    )
    holds_array = f"{first} = {ord('[')} AND jsonb_typeof({json}) = 'array'"
    return Target(json, text, f'(({key}) COLLATE "C")', number, holds_array, tuple(arrays))


def literal(text: str) -> str:
    """Return a text as a literal of SQL; control characters, which `bindings` marks parameters with, are escaped."""
    quoted = text.replace("'", "''")
    if _CONTROL.search(text) is None:
        return f"'{quoted}'"
    escaped = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", quoted.replace("\\", "\\\\"))
    return f"E'{escaped}'"


def is_expressible(path: Path) -> bool:
    """Tell whether PostgreSQL can hold every name of a path."""
    return not any("\ud800" <= char <= "\udfff" for part in path for char in part)
