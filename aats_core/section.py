"""One section of a team file: its secrets fetched, its fields checked by a model, and what is wrong said in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from aats_core.layers import Setting
from aats_core.problems import FieldPath, Problem, explain, lies_within
from aats_core.secret_refs import SecretRef, read_secret
from aats_core.secrets import mask, redact, remember
from aats_core.settings import PluginSettings

S = TypeVar("S", bound=PluginSettings)

SECTION_NAME = r"^[A-Za-z0-9_-]+$"
"""What the name of a section may be: it becomes part of topics, keys and ids."""


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
            origins = {path: setting.origin for path, setting in outside.items()}
            problems += (p for p in explain(title, error, model, origins) if p.field not in missing)
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
        return {s.path[depth:]: s for s in self._settings if s.path[:depth] == section and len(s.path) > depth}

    def _fetch(self, value: Any, title: str, field: str, problems: list[Problem]) -> Any:
        """Return a value with the secrets in it in place of where they are to be read."""
        if isinstance(value, dict):
            return {name: self._fetch(item, title, f"{field}.{name}", problems) for name, item in value.items()}
        if isinstance(value, list):
            return [self._fetch(item, title, f"{field}[{n}]", problems) for n, item in enumerate(value)]
        if not isinstance(value, SecretRef):
            return value
        try:
            secret = read_secret(value, self._base, self._environ)
        except ValueError as error:
            problems.append(Problem(title, field, str(error)))
            return ""
        remember(secret)
        return secret


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
        if not any(place == path or (not whole and lies_within(place, path)) for place in places):
            continue
        *tables, field = path
        table: Any = values
        for name in tables:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict) and table.get(field) == setting.value:
            table[field] = setting.text
