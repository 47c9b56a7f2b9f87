"""`aats config`: what a team file may hold, and what one holds once everything that it leaves out is filled in."""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aats_core.cli.options import Json, Overrides, TeamFilePath
from aats_core.cli.output import print_json

if TYPE_CHECKING:
    from aats_core.settings import PluginSettings

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def schema() -> None:
    """Print the JSON Schema of a team file, for the plugins that are installed: editors complete the file with it."""
    from aats_core.team_schema import team_schema

    print_json(team_schema())


def show(file: TeamFilePath, /, *, set: Overrides = None, json: Json = False) -> None:
    """Print a team file with everything that it leaves out; secrets are masked, and defaults marked."""
    from aats_core.team_file import load_team_file

    team_file = load_team_file(file, overrides=set or ())
    sections: list[tuple[str, PluginSettings, Collection[str]]] = [
        ("team", team_file.team, team_file.team.model_fields_set)
    ]
    sections += [(section.title, section.settings, section.given) for section in team_file.sections]
    if json:
        print_json({title: _values(settings) for title, settings, _ in sections})
        return
    for index, (title, settings, given) in enumerate(sections):
        print(f"{chr(10) if index else ''}[{title}]")
        for name, value in _values(settings).items():
            mark = "" if name in given else "  # default"
            print(f"{name} = {_toml(value)}{mark}" if value is not None else f"# {name} is not set")


def _values(settings: PluginSettings) -> dict[str, Any]:
    from aats_core.section import shown_settings

    return shown_settings(settings)


def _toml(value: Any) -> str:
    """Return a value as TOML; it is what JSON can hold, without null at its top."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(_pairs(value))} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value if item is not None)}]"
    return jsonlib.dumps(value, ensure_ascii=False)


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if value is not None:
            yield f"{name if _BARE.fullmatch(name) else jsonlib.dumps(name)} = {_toml(value)}"
