"""The Lua scripts that run on the server, by name."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

Word = bytes | str | float
"""Part of a command."""


class Script(NamedTuple):
    """The text of a script, and the digest under which the server keeps it."""

    text: str
    digest: str


@cache
def script(name: str, flags: str = "") -> Script:
    """Return a script; `flags` tell the server how it has to run it."""
    first = f"#!lua flags={flags}" if flags else "#!lua"
    text = f"{first}\n{(files(__package__) / 'lua' / f'{name}.lua').read_text('utf-8')}"
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
