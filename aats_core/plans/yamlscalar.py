"""What a YAML scalar stands for under the core schema of YAML 1.2."""

from __future__ import annotations

import re

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES = {"0o": 8, "0x": 16}
_TYPES = {"null": type(None), "bool": bool, "int": int, "float": float}
_CORE = "tag:yaml.org,2002:"

Scalar = str | int | float | bool | None


def resolve(text: str, *, plain: bool, tag: str | None) -> Scalar:
    """Return the value of a scalar: of a plain one by its form, of a quoted one its text, of a tagged one by its tag.

    Raises `ValueError` for an unknown tag, and for a text that is not of its tag's type.
    """
    if tag is None:
        return _by_form(text) if plain else text
    if tag in ("!", f"{_CORE}str"):
        return text
    name = tag.removeprefix(_CORE)
    wanted = _TYPES.get(name)
    if wanted is None or name == tag:
        raise ValueError(f"the tag {tag[:80]!r} is not supported; plans hold text, numbers, true, false and null")
    value = _by_form(text)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if value.__class__ is not wanted:
        raise ValueError(f"{text[:40]!r} does not fit its tag !!{name}")
    return value


def _by_form(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text


def _integer(text: str) -> int:
    base = _BASES.get(text[:2])
    try:
        return int(text[2:], base) if base else int(text)
    except ValueError as error:
        raise ValueError("has a number of too many digits") from error
