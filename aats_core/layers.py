"""The layers of a team file: what it says itself, above it the environment, and above that what the caller sets."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from aats_core.errors import SettingsError
from aats_core.problems import FieldPath
from aats_core.secrets import redact

SECTIONS = ("team", "broker", "stores", "agents", "integrations")
"""What a team file may hold at its top."""

NAMED = ("stores", "agents", "integrations")
"""Those of them that hold a section for each name."""

PREFIX = "AATS_"


class Setting(msgspec.Struct, frozen=True):
    """A value from outside the file: for which field, as TOML reads it, as it was written, and from where."""

    path: FieldPath
    value: Any
    text: str
    origin: str


class Layers(BaseSettings):
    """What the layers say together: the sections, not yet checked; an upper layer's values replace those below."""

    model_config = SettingsConfigDict(extra="forbid", case_sensitive=True)

    team: dict[str, Any] = {}
    broker: dict[str, Any] = {}
    stores: dict[str, dict[str, Any]] = {}
    agents: dict[str, dict[str, Any]] = {}
    integrations: dict[str, dict[str, Any]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it cannot name a section with a dash
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the layers that were given to the constructor, the uppermost first."""
        assert isinstance(init_settings, InitSettingsSource)
        return tuple(InitSettingsSource(settings_cls, layer) for layer in init_settings.init_kwargs["layers"])


def read_file(path: Path) -> dict[str, Any]:
    """Return what a TOML file says; raises `SettingsError` with file and line where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except OSError as error:
        raise SettingsError(f"{path}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: it is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}"
        ) from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise SettingsError(f"{path}: its tables are nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        at = re.search(r" \(at line (\d+), column \d+\)$", what)
        line = at[1] if at else len(text.splitlines())
        raise SettingsError(f"{path}:{line}: not valid TOML: {redact(what)}") from error


def read_override(text: str) -> Setting:
    """Return what `section.field=value` sets; the value is TOML, or else the text itself.

    Raises `SettingsError` where it does not name a field of a section.
    """
    key, value = (part.strip() for part in _split(text))
    path = _key_path(key)
    if len(path) < 2:
        raise SettingsError(f"--set {key or text}: write it as section.field=value, as in agents.build.replicas=4")
    return Setting(path, _value(value), value, f"--set {key}")


def read_environment(environ: Mapping[str, str], sections: Mapping[str, Iterable[str]]) -> list[Setting]:
    """Return what variables such as `AATS_AGENTS__BUILD__REPLICAS` set; others are none of ours.

    `sections` holds the names known in each table: `BUILD_ALL` stands for `build-all` or `build_all`, whichever
    there is, and for `build-all` where there is neither.
    """
    found = []
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX) or "__" not in variable:
            continue
        table, *rest = variable[len(PREFIX) :].lower().split("__")
        if table in NAMED and rest:
            rest[0] = _section_name(rest[0], sections.get(table, ()))
        text = environ[variable]
        found.append(Setting((table, *rest), _value(text), text, variable))
    return found


def as_layer(settings: Sequence[Setting]) -> dict[str, Any]:
    """Return settings as the nested tables that a team file would hold; of two for one field the later counts."""
    layer: dict[str, Any] = {}
    for setting in settings:
        table = layer
        for name in setting.path[:-1]:
            below = table.setdefault(name, {})
            if not isinstance(below, dict):
                below = table[name] = {}
            table = below
        table[setting.path[-1]] = setting.value
    return layer


def _section_name(text: str, known: Iterable[str]) -> str:
    for name in known:
        if name.lower().replace("-", "_") == text:
            return name
    return text.replace("_", "-")


def _split(text: str) -> tuple[str, str]:
    """Split at the first `=` that is not within quotes; without any, nothing is the key."""
    quote = ""
    for position, character in enumerate(text):
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif not quote and character == "=":
            return text[:position], text[position + 1 :]
    return "", text


def _key_path(key: str) -> FieldPath:
    try:
        level = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(level, dict):
        if len(level) != 1:
            return ()
        ((name, level),) = level.items()
        path.append(name)
    return tuple(path)


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text
