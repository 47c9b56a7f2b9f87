"""Names that users give, as Cypher may hold them: between backticks, and without anything that could end these."""

from __future__ import annotations

import re

from aats_core.errors import StoreError

_LONGEST = 1000
_OTHER = re.compile(r"[^\w .:/@+-]")


def kind_name(kind: str) -> str:
    """Return the relationship type of a kind, with its backticks; different kinds have different types.

    Letters, digits and a few signs stand for themselves, everything else is written as its number: `%2b;`. Neither a
    backtick nor a backslash is ever left, of which Cypher also reads the numbers.
    """
    if len(kind) > _LONGEST:
        raise StoreError(f"the kind of a relation has {_LONGEST} characters at most, not {len(kind)}: {kind[:50]}…")
    return f"`{_OTHER.sub(_numbered, kind) or '%'}`"


def _numbered(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):x};"
