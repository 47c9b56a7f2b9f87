"""SQL expressions for a value within a document: class, number and text, which together sort as MongoDB sorts.

The class of a value is a number (`NULL`, `NUMBER` and so on below); that of a number has its value in the second
expression, that of a string, a date or of binary data its first characters in the third. Where an array lies on the
way to the end of a path, the class is that of an array. Indexes are made of these expressions, to the letter.
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

NULL, NAN, NUMBER, STRING, OBJECT, ARRAY, BYTES, FALSE, TRUE, TIME = 10, 19, 20, 30, 40, 50, 60, 70, 71, 80

CLASSES = {values.STRING: STRING, values.BINARY: BYTES, values.DATE: TIME}
"""The classes of values that are compared by their text."""

_CONTROL = re.compile("[\x01-\x1f]")

LENGTH = 200
"""So many characters of a text stand in an index."""


class Target(msgspec.Struct, frozen=True):
    """A value in a row: its JSON, its text, and the expressions made of these."""

    json: str
    text: str
    kind: str
    number: str
    prefix: str
    ways: tuple[str, ...]
    """Whether arrays lie on the way to it, each a condition."""

    @property
    def full(self) -> str:
        """The whole text, which compares by its bytes."""
        return f'({self.text} COLLATE "C")'

    @property
    def order(self) -> tuple[str, ...]:
        """What to sort by; an index over the value has the first three."""
        return (self.kind, self.number, self.prefix, self.full)


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
    tag = f"substr({text}, 2, 1)"
    tagged = (
        f"CASE WHEN left({text}, 1) <> '{MARK}' THEN {STRING} WHEN {tag} IN ('{DECIMAL}', '{INFINITY}') THEN {NUMBER}"
        f" WHEN {tag} = '{NAN_TAG}' THEN {NAN} WHEN {tag} = '{BINARY}' THEN {BYTES} WHEN {tag} = '{DATE}' THEN {TIME}"
        f" ELSE {STRING} END"
    )
    kind = (
        f"CASE jsonb_typeof({json}) WHEN 'string' THEN {tagged} WHEN 'number' THEN {NUMBER}"
        f" WHEN 'object' THEN {OBJECT} WHEN 'array' THEN {ARRAY}"
        f" WHEN 'boolean' THEN CASE WHEN {json} = 'true' THEN {TRUE} ELSE {FALSE} END ELSE {NULL} END"
    )
    if arrays:
        kind = f"CASE WHEN {' OR '.join(arrays)} THEN {ARRAY} ELSE {kind} END"
    number = (
        f"(CASE WHEN jsonb_typeof({json}) = 'number' THEN {json}::numeric"
        f" WHEN jsonb_typeof({json}) = 'string' AND left({text}, 1) = '{MARK}' AND {tag} IN ('{DECIMAL}', '{INFINITY}')"
        f" THEN substr({text}, 3)::numeric END)"
    )
    prefix = f"(CASE WHEN jsonb_typeof({json}) = 'string' THEN left({text}, {LENGTH}) END COLLATE \"C\")"
    return Target(json, text, f"({kind})", number, prefix, tuple(arrays))


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
