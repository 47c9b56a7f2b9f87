"""One section of a team file: its secrets fetched, its fields checked by a model, and what is wrong said in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from aats_core.layers import FieldPath, SecretRef, Setting
from aats_core.secrets import mask, redact, remember
from aats_core.settings import PluginSettings

S = TypeVar("S", bound=PluginSettings)

SECTION_NAME = r"^[A-Za-z0-9_-]+$"
"""What the name of a section may be: it becomes part of topics, keys and ids."""

_SECRET_SIZE = 1024 * 1024


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


class Checked(msgspec.Struct, Generic[S], frozen=True):
    """What came of checking a section: its settings, or else what is wrong with it."""

    settings: S | None
    problems: tuple[Problem, ...] = ()


def section_name_fault(name: str) -> str:
    """Say what is wrong with the name of a section, or nothing."""
    if re.fullmatch(SECTION_NAME, name):
        return ""
    return "its name may hold letters, digits, dashes and underscores only"


def shown_settings(settings: PluginSettings) -> dict[str, Any]:
    """Return settings as they may be shown: such as JSON can hold, with the secrets masked."""
    shown: dict[str, Any] = mask(settings.model_dump(mode="json", fallback=str))
    return shown


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, and which known one is near, or which there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"unknown {what} {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}")


class SectionChecker:
    """Checks sections with their models.

    `settings` are the values that do not come from the file; `base` is the directory in which the file lies, and
    `environ` the variables, of which secrets are fetched.
    """

    def __init__(self, settings: Sequence[Setting], base: Path, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._base = base
        self._environ = environ

    def check(self, title: str, fields: Mapping[str, Any], model: type[S]) -> Checked[S]:
        """Fetch the secrets of a section and check all of it.

        A number or the like from outside the file is taken as text again where the field wants text.
        """
        problems: list[Problem] = []
        values = {name: self._fetch(value, title, name, problems) for name, value in fields.items()}
        _remember_secrets(values, model)
        missing = {problem.field for problem in problems}
        outside = self._outside(title)
        try:
            checked = _validate(values, model, outside)
        except ValidationError as error:
            problems += _explain(title, error, model, outside, missing)
            return Checked(None, tuple(problems))
        except Exception as error:  # noqa: BLE001 - reported: a validator of the plugin is wrong, not the file
            what = redact(f"{type(error).__name__}: {error}")
            problems.append(Problem(title, "", f"{model.__name__} failed to check it: {what}"))
            return Checked(None, tuple(problems))
        _remember_checked(checked)
        return Checked(None if problems else checked, tuple(problems))

    def _outside(self, title: str) -> dict[FieldPath, Setting]:
        section = tuple(title.split("."))
        depth = len(section)
        return {setting.path[depth:]: setting for setting in self._settings if setting.path[:depth] == section}

    def _fetch(self, value: Any, title: str, field: str, problems: list[Problem]) -> Any:
        """Return a value with the secrets in it in place of where they are to be read."""
        if isinstance(value, dict):
            return {name: self._fetch(item, title, f"{field}.{name}", problems) for name, item in value.items()}
        if isinstance(value, list):
            return [self._fetch(item, title, f"{field}[{n}]", problems) for n, item in enumerate(value)]
        if not isinstance(value, SecretRef):
            return value
        try:
            secret = self._read(value)
        except ValueError as error:
            problems.append(Problem(title, field, str(error)))
            return ""
        remember(secret)
        return secret

    def _read(self, ref: SecretRef) -> str:
        if ref.source == "env":
            if ref.name not in self._environ:
                raise ValueError(f"the environment variable {ref.name} is not set")
            return self._environ[ref.name]
        try:
            path = self._base / Path(ref.name).expanduser()
        except RuntimeError as error:
            raise ValueError(f"the file {ref.name} cannot be found: {error}") from error
        try:
            with path.open("rb") as file:
                content = file.read(_SECRET_SIZE + 1)
            text = content.decode()
        except OSError as error:
            raise ValueError(f"the file {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"the file {path} is not UTF-8 text") from error
        if len(content) > _SECRET_SIZE:
            raise ValueError(f"the file {path} is larger than a secret may be ({_SECRET_SIZE} bytes)")
        return text.removesuffix("\n").removesuffix("\r")


def _validate(values: dict[str, Any], model: type[S], outside: Mapping[FieldPath, Setting]) -> S:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        _take_as_text(values, error, outside)
        return model.model_validate(values)


def _remember_secrets(values: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Remember what stands in the fields for secrets before they are checked, for the sake of the messages."""
    for name, field in model.model_fields.items():
        if isinstance(value := values.get(name), str) and _holds_secret(field.annotation):
            remember(value)


def _holds_secret(annotation: Any) -> bool:
    return annotation in (SecretStr, SecretBytes) or any(map(_holds_secret, get_args(annotation)))


def _remember_checked(value: Any) -> None:
    if isinstance(value, SecretStr):
        remember(value.get_secret_value())
    elif isinstance(value, SecretBytes):
        remember(value.get_secret_value().decode(errors="replace"))
    elif isinstance(value, BaseModel):
        _remember_checked(dict(value))
    elif isinstance(value, dict):
        _remember_checked(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _remember_checked(item)


def _take_as_text(values: dict[str, Any], error: ValidationError, outside: Mapping[FieldPath, Setting]) -> None:
    """Put the text of settings in the place of their values where these do not fit and are what counts there."""
    places = [found["loc"] for found in error.errors()]
    for path, setting in outside.items():
        whole = isinstance(setting.value, dict | list)
        if not any(place == path or (not whole and _within(place, path)) for place in places):
            continue
        *tables, field = path
        table: Any = values
        for name in tables:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict) and table.get(field) == setting.value:
            table[field] = setting.text


def _within(place: tuple[str | int, ...], path: FieldPath) -> bool:
    return place[: len(path)] == path


def _explain(
    title: str,
    error: ValidationError,
    model: type[BaseModel],
    outside: Mapping[FieldPath, Setting],
    missing: Iterable[str],
) -> Iterator[Problem]:
    for found in error.errors(include_url=False, include_input=False):
        place = found["loc"]
        field = _shown(place)
        if field in missing:
            continue
        text = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            text = unknown("key", str(place[-1]), _keys(model, place[:-1]))
        elif found["type"] == "missing":
            text = "it is missing"
        origin = next((setting.origin for path, setting in outside.items() if _within(place, path)), "")
        yield Problem(title, field, redact(f"{text} (set by {origin})" if origin else text))


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
