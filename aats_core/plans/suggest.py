"""What somebody meant who wrote a name that does not exist."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from itertools import islice

_MOST_COMPARED = 2000
_SHORT_LIST = 24


def suggest(word: str, known: Collection[str]) -> str:
    """Return ` (did you mean 'lint'?)` if a known name is close, or, of a short list, ` (known: …)`; else nothing."""
    known = dict.fromkeys(map(str, known))  # a name that stands twice is one suggestion
    near = [name for name in known if abs(len(name) - len(word)) <= 3 and len(word) <= 200]
    close = get_close_matches(word, islice(near, _MOST_COMPARED), n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    if 0 < len(known) <= _SHORT_LIST:
        return f" (known: {', '.join(sorted(known))})"
    return ""
