"""The Lua scripts that run on the server, by name."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """The text of a script, and the digest under which the server keeps it."""

    text: str
    digest: str


@cache
def script(name: str) -> Script:
    """Return a script; what all share stands behind its first line, which says how the server has to run it."""
    folder = files(__package__) / "lua"
    first, _, rest = (folder / f"{name}.lua").read_text("utf-8").partition("\n")
    text = f"{first}\n{(folder / 'common.lua').read_text('utf-8')}\n{rest}"
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
