"""The names of plans and tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NAME = 128
"""How long a name may be."""

NAME_RULE = f"a name begins with a letter or digit and has up to {MAX_NAME} letters, digits, '_', '-' and '.'"
"""What `is_name` demands, in words."""

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME - 1}}}")


def is_name(text: str) -> bool:
    """Tell whether a plan or a task may be called that."""
    return _NAME.fullmatch(text) is not None


def clean_name(text: str, *, fallback: str) -> str:
    """Return the text if it is a name, else the name that is most like it, or the fallback if nothing is left."""
    if is_name(text):
        return text
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip("_.-")[:MAX_NAME] or fallback


def clean_names(texts: Iterable[str], *, fallback: str) -> dict[str, str]:
    """Map each text to a name: itself where it is one, else one like it that no other has."""
    wanted = list(dict.fromkeys(texts))
    names = {text: text for text in wanted if is_name(text)}
    taken = set(names)
    for text in wanted:
        if text not in names:
            names[text] = _unused(clean_name(text, fallback=fallback), taken)
            taken.add(names[text])
    return names


def _unused(name: str, taken: set[str]) -> str:
    count, unused = 1, name
    while unused in taken:
        count += 1
        suffix = f"-{count}"
        unused = name[: MAX_NAME - len(suffix)] + suffix
    return unused
