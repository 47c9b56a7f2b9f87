"""Templates in payloads: `{{ tasks.build.output.wheel }}` stands for what a need returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from aats_core.errors import InvalidRequest
from aats_core.plans.place import Where, dotted
from aats_core.plans.reference import Part, Reference, parse

_encoder = msgspec.json.Encoder()


def has_templates(payload: Any) -> bool:
    """Tell whether there may be a template anywhere in the payload."""
    try:
        return b"{{" in _encoder.encode(payload)
    except (TypeError, ValueError, RecursionError):
        return True


def find_texts(payload: Any) -> Iterator[tuple[Where, str]]:
    """Yield every text in the payload that has `{{`, with its way there; keys are not looked at."""
    stack: list[tuple[Where, Any]] = [((), payload)]
    while stack:
        where, value = stack.pop()
        if isinstance(value, str):
            if "{{" in value:
                yield where, value
        elif isinstance(value, Mapping):
            stack.extend(((*where, key), item) for key, item in reversed(list(value.items())))
        elif isinstance(value, list | tuple):
            stack.extend(((*where, index), value[index]) for index in range(len(value) - 1, -1, -1))


def references(payload: Any) -> list[Reference]:
    """Return everything that the payload's templates refer to; raises `InvalidRequest` where one is not valid."""
    if not has_templates(payload):
        return []
    found: list[Reference] = []
    for where, text in find_texts(payload):
        found += [part for part in _parse_at(where, text) if isinstance(part, Reference)]
    return found


def render(payload: Any, scope: Mapping[str, Any]) -> Any:
    """Return the payload with its templates filled in from the scope (`tasks`, `inputs`, `plan`).

    A text that is one template and nothing else becomes the value, whatever its type; in a longer text values are
    written out, text as it is and everything else as JSON. Without templates the very payload is returned. Raises
    `InvalidRequest` that names the template and its place where a value is missing.
    """
    if not has_templates(payload):
        return payload
    try:
        return _render(payload, scope, ("payload",))
    except RecursionError as error:
        raise InvalidRequest("payload: is nested too deeply") from error


def _render(value: Any, scope: Mapping[str, Any], where: Where) -> Any:
    if isinstance(value, str):
        return _render_text(value, scope, where) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: _render(item, scope, (*where, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_render(item, scope, (*where, index)) for index, item in enumerate(value)]
    return value


def _render_text(text: str, scope: Mapping[str, Any], where: Where) -> Any:
    parts = _parse_at(where, text)
    try:
        values = [part.resolve(scope) if isinstance(part, Reference) else part for part in parts]
    except InvalidRequest as error:
        raise InvalidRequest(f"{dotted(where)}: {error}") from error
    return values[0] if len(values) == 1 else "".join(map(_write, values))


def _parse_at(where: Where, text: str) -> list[Part]:
    try:
        return parse(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{dotted(where)}: {error}") from error


def _write(value: Any) -> str:
    return value if isinstance(value, str) else _encoder.encode(value).decode()
