"""The language of templates: references and nothing else.

A reference is a way of keys and indexes into plain data, with a default if need be. It runs no code and reaches no
attribute of an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aats_core.errors import InvalidRequest
from aats_core.plans.place import Where, dotted

_NO_DEFAULT: Any = object()
_OPENING = re.compile(r"(?<!\\)(\\*+)\{\{")
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(-?[0-9]{1,9})\]|\[\"((?:[^\"\\]|\\.)*+)\"\]|\['([^'\\]*)'\]")
_ROOT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)")
_DEFAULT = re.compile(r"\s*\|\s*default\(\s*")
_END_DEFAULT = re.compile(r"\s*\)")
_CLOSING = re.compile(r"\s*\}\}")
_literal = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Reference:
    """What a template refers to: `path` is its way, such as `("tasks", "build", "output", "wheel")`."""

    path: Where
    default: Any = _NO_DEFAULT

    def __str__(self) -> str:
        return f"{{{{ {dotted(self.path)} }}}}"

    @property
    def has_default(self) -> bool:
        """Whether it says what to take where there is no value."""
        return self.default is not _NO_DEFAULT

    def resolve(self, scope: Mapping[str, Any]) -> Any:
        """Return the value in the scope, or the default where that is missing or null.

        Raises `InvalidRequest` where there is neither, saying what is there instead.
        """
        value: Any = scope
        for index, step in enumerate(self.path):
            try:
                value = _enter(value, step)
            except LookupError:
                if self.has_default:
                    return self.default
                raise InvalidRequest(f"{self}: {_explain(self.path[:index], step, value)}") from None
        return self.default if value is None and self.has_default else value


def _enter(value: Any, step: str | int) -> Any:
    if isinstance(value, Mapping) and isinstance(step, str):
        return value[step]
    if isinstance(value, list | tuple) and isinstance(step, int):
        return value[step]
    raise LookupError(step)


def _explain(before: Where, step: str | int, value: Any) -> str:
    name = dotted(before) or "the plan"
    if isinstance(value, Mapping):
        there = ", ".join(repr(key) for key in list(value)[:10]) or "nothing"
        return f"{name} has no {step!r}, it has {there}"
    if isinstance(value, list | tuple):
        return f"{name} is a list of {len(value)} and has no {dotted((step,))}"
    return f"{name} is {_name_type(value)} and has no {dotted((step,))}"


def _name_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


Part = str | Reference


def parse(text: str) -> list[Part]:
    """Split text into what stands there literally and what is referred to.

    Two backslashes before `{{` are one, and a single one makes the braces literal. Raises `InvalidRequest` where
    `{{` begins no reference.
    """
    parts: list[Part] = []
    literal, position = "", 0
    while found := _OPENING.search(text, position):
        slashes = len(found[1])
        literal += text[position : found.start()] + "\\" * (slashes // 2)
        if slashes % 2:
            literal, position = literal + "{{", found.end()
            continue
        if literal:
            parts.append(literal)
            literal = ""
        reference, position = _parse_reference(text, found.end())
        parts.append(reference)
    literal += text[position:]
    return [*parts, literal] if literal or not parts else parts


def _parse_reference(text: str, start: int) -> tuple[Reference, int]:
    root = _ROOT.match(text, start)
    if not root:
        raise _not_a_reference(text, start)
    path: list[str | int] = [root[1]]
    position = root.end()
    while step := _STEP.match(text, position):
        path.append(_step_of(step))
        position = step.end()
    default = _NO_DEFAULT
    if begin := _DEFAULT.match(text, position):
        default, position = _parse_default(text, start, begin.end())
    end = _CLOSING.match(text, position)
    if not end:
        raise _not_a_reference(text, start)
    return Reference(tuple(path), default), end.end()


def _step_of(found: re.Match[str]) -> str | int:
    plain, index, double, single = found.groups()
    if index is not None:
        return int(index)
    if double is not None:
        return re.sub(r"\\(.)", r"\1", double)
    return str(plain if plain is not None else single)


def _parse_default(text: str, start: int, position: int) -> tuple[Any, int]:
    try:
        value, end = _literal.raw_decode(text, position)
    except (ValueError, RecursionError):
        raise _not_a_reference(text, start) from None
    closing = _END_DEFAULT.match(text, end)
    if not closing:
        raise _not_a_reference(text, start)
    return value, closing.end()


def _not_a_reference(text: str, start: int) -> InvalidRequest:
    end = text.find("}}", start)
    shown = text[start - 2 : end + 2 if 0 <= end <= start + 60 else start + 60]
    return InvalidRequest(
        f"{shown!r} is not a reference such as {{{{ tasks.build.output.wheel }}}} or "
        '{{ inputs.mode | default("fast") }}; write \\{{ for two braces that are meant literally'
    )
