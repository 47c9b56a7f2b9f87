"""What is wrong in a team file, said in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from aats_core.secrets import redact

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WORDS = {
    "string_type": "it must be text",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "it must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "it must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "it must be true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "it must be a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "it must be a table"),
    "missing": "it is missing",
    "too_short": "it must hold {min_length} or more, and holds {actual_length}",
    "too_long": "it must hold {max_length} or fewer",
    "string_too_short": "it must have {min_length} or more characters",
    "string_too_long": "it must have {max_length} or fewer characters",
}
"""What is said, by pydantic's types of errors, where its own words are those of a programmer."""

FieldPath = tuple[str, ...]
"""The place of a field: names from the outside in."""


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong in a team file: in which section and field (empty where it is in none), and what."""

    section: str
    field: str
    text: str

    def __str__(self) -> str:
        """Return it in one line: `[agents.build] allow: …`."""
        place = " ".join(part for part in (f"[{self.section}]" if self.section else "", self.field) if part)
        if not place:
            return self.text
        return f"{place}{':' if self.field else ''} {self.text}"


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, and which known one is near, or which there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"unknown {what} {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}")


def explain(
    title: str, error: ValidationError, model: type[BaseModel], origins: Mapping[FieldPath, str]
) -> Iterator[Problem]:
    """Yield what a model found wrong in a section; `origins` says from where fields come that are not in the file."""
    for found in error.errors(include_url=False, include_input=False):
        place = found["loc"]
        if found["type"] == "extra_forbidden":
            text = unknown("key", str(place[-1]), _keys(model, place[:-1]))
        else:
            text = _words(found)
        origin = next((origin for path, origin in origins.items() if lies_within(place, path)), "")
        yield Problem(title, _shown(place), redact(f"{text} (set by {origin})" if origin else text))


def _words(found: ErrorDetails) -> str:
    words = _WORDS.get(found["type"])
    if words is not None:
        return words.format(**found.get("ctx", {}))
    return found["msg"].removeprefix("Value error, ").replace("Input should ", "it must ")


def lies_within(place: tuple[str | int, ...], path: FieldPath) -> bool:
    """Tell whether a place is that of a field or lies within it."""
    return place[: len(path)] == path


def _shown(place: Sequence[str | int]) -> str:
    """Write the place of a field as it is written in the file, without the members of unions that pydantic puts in."""
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in place if not re.search(r"[\[(]", str(part))
    ]
    return "".join(parts).removeprefix(".")


def _keys(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Return the keys of the table at that place; it is a model, or one lies within the annotation of the field."""
    if not place:
        return sorted(model.model_fields)
    field = model.model_fields.get(str(place[0]))
    below = next(_models(field.annotation), None) if field else None
    return _keys(below, [part for part in place[1:] if part in below.model_fields]) if below else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
