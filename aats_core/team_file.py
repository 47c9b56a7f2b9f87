"""The team file: read, completed with what is not said, and every section checked by the plugin that it names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aats_core.errors import PluginError, SettingsError
from aats_core.layers import (
    NAMED,
    SECTIONS,
    Layers,
    Setting,
    as_layer,
    read_environment,
    read_file,
    read_override,
)
from aats_core.plugins import Catalog, Plugin, PluginKind, discover, settings_model
from aats_core.problems import Problem, unknown
from aats_core.secret_refs import mark_secrets
from aats_core.secrets import redact
from aats_core.section import SectionChecker, section_name_fault
from aats_core.settings import PluginSettings, TeamSection
from aats_core.task import PROJECT_MANAGER, TASK_SCHEDULER

_KINDS = {
    "broker": PluginKind.BROKER,
    "stores": PluginKind.STORE,
    "integrations": PluginKind.INTEGRATION,
    "agents": PluginKind.AGENT,
}


class Section(msgspec.Struct, frozen=True):
    """A section of a team file with the plugin that it stands for and its checked settings.

    `title` is how the file names it, such as `stores.primary`; `name` the last part of that. `given` holds the
    fields that the file (or what counts above it) sets; the others have their defaults.
    """

    kind: PluginKind
    name: str
    title: str
    plugin: Plugin
    cls: type[Any]
    settings: PluginSettings
    given: frozenset[str] = frozenset()


class TeamFile(msgspec.Struct, frozen=True):
    """A checked team file: `sections` in the order in which they depend on each other: broker, stores, the rest."""

    path: Path
    team: TeamSection
    sections: tuple[Section, ...]

    @property
    def state_dir(self) -> Path:
        """Where the team keeps its own files, as an absolute path."""
        return (self.path.parent / self.team.state_dir).absolute()

    @property
    def broker(self) -> Section:
        """The section of the broker."""
        return next(section for section in self.sections if section.kind is PluginKind.BROKER)

    @property
    def stores(self) -> dict[str, Section]:
        """The sections of the stores, by name."""
        return self._of_kind(PluginKind.STORE)

    @property
    def integrations(self) -> dict[str, Section]:
        """The sections of the integrations, by name."""
        return self._of_kind(PluginKind.INTEGRATION)

    @property
    def agents(self) -> dict[str, Section]:
        """The sections of the agents, by name."""
        return self._of_kind(PluginKind.AGENT)

    def _of_kind(self, kind: PluginKind) -> dict[str, Section]:
        return {section.name: section for section in self.sections if section.kind is kind}


def load_team_file(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    catalog: Catalog | None = None,
) -> TeamFile:
    """Read a team file and import the plugins that it names.

    Above what the file says count variables such as `AATS_AGENTS__BUILD__REPLICAS`, and above these the
    `overrides`, each `section.field=value`. A missing broker is `memory`, missing stores are one `sqlite` named
    primary, and the agents that carry out plans are added. Raises `SettingsError` with a line for each thing that is
    wrong: file, section, field and what.
    """
    team_file, problems = examine_team_file(path, overrides=overrides, environ=environ, catalog=catalog)
    if problems:
        raise SettingsError("\n".join(describe_problems(path, problems)))
    return team_file


def examine_team_file(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    catalog: Catalog | None = None,
) -> tuple[TeamFile, list[Problem]]:
    """Return what there is to be used of a team file, without the sections that are wrong, and what is wrong with them.

    It reads as `load_team_file` does. Raises `SettingsError` where the file cannot be read at all.
    """
    path = Path(path)
    reader = _Reader(path, catalog or discover())
    layers, settings = reader.layers(overrides, environ)
    checker = SectionChecker(settings, path.parent, environ)
    team = reader.team(layers, checker)
    sections = reader.sections(layers, checker)
    return TeamFile(path, team, tuple(sections)), reader.problems


def describe_problems(path: Path | str, problems: Sequence[Problem]) -> list[str]:
    """Say what is wrong in a line each, after the file that it is wrong in unless it comes from outside."""
    return [f"{path}: {problem}" if problem.section else str(problem) for problem in problems]


class _Reader:
    """Reads one team file and gathers what is wrong with it."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        self.problems: list[Problem] = []
        self._path = path
        self._catalog = catalog

    def layers(self, overrides: Sequence[str], environ: Mapping[str, str]) -> tuple[Layers, list[Setting]]:
        file = read_file(self._path)
        set_by_hand = []
        for text in overrides:
            try:
                set_by_hand.append(read_override(text))
            except SettingsError as error:
                self.problems.append(Problem("", "", str(error)))
        known = {table: self._names(table, file, set_by_hand) for table in NAMED}
        set_outside = read_environment(environ, known)
        settings = [setting for setting in [*set_outside, *set_by_hand] if self._belongs(setting)]
        upper = [as_layer([s for s in layer if s in settings]) for layer in (set_by_hand, set_outside)]
        stack = [mark_secrets(self._well_formed(layer), NAMED) for layer in (*upper, file)]
        return Layers(layers=stack), settings  # type: ignore[call-arg]  # read by `settings_customise_sources`

    def team(self, layers: Layers, checker: SectionChecker) -> TeamSection:
        checked = checker.check("team", layers.team, TeamSection)
        self.problems += checked.problems
        return checked.settings or TeamSection()

    def sections(self, layers: Layers, checker: SectionChecker) -> list[Section]:
        nothing: dict[str, Any] = {}
        tables = {
            "broker": {"broker": layers.broker},
            "stores": layers.stores or {"primary": nothing},
            "integrations": layers.integrations,
            "agents": {PROJECT_MANAGER: nothing, TASK_SCHEDULER: nothing} | layers.agents,
        }
        found = [
            self._section(checker, table, name, fields)
            for table, sections in tables.items()
            for name, fields in sections.items()
        ]
        return [section for section in found if section is not None]

    def _section(self, checker: SectionChecker, table: str, name: str, fields: dict[str, Any]) -> Section | None:
        kind = _KINDS[table]
        title = table if kind is PluginKind.BROKER else f"{table}.{name}"
        named = fields.get("plugin", default_plugin(kind, name))
        fault = section_name_fault(name)
        if fault or not isinstance(named, str):
            self.problems.append(Problem(title, "" if fault else "plugin", fault or "it must be the name of a plugin"))
            return None
        try:
            plugin = self._catalog.find(kind, named)
            cls = self._catalog.load(kind, named)
        except PluginError as error:
            self.problems.append(Problem(title, "plugin", redact(str(error))))
            return None
        checked = checker.check(title, {**fields, "plugin": named}, settings_model(kind, cls))
        self.problems += checked.problems
        if checked.settings is None:
            return None
        return Section(kind, name, title, plugin, cls, checked.settings, frozenset(fields))

    def _names(self, table: str, file: Mapping[str, Any], settings: Sequence[Setting]) -> list[str]:
        content = file.get(table)
        names = list(content) if isinstance(content, dict) else []
        names += [setting.path[1] for setting in settings if setting.path[0] == table]
        return names + ([PROJECT_MANAGER, TASK_SCHEDULER] if table == "agents" else [])

    def _belongs(self, setting: Setting) -> bool:
        if setting.path[0] in SECTIONS:
            return True
        self.problems.append(Problem("", "", f"{setting.origin}: {unknown('section', setting.path[0], SECTIONS)}"))
        return False

    def _well_formed(self, layer: Mapping[str, Any]) -> dict[str, Any]:
        """Return a layer without what does not have the shape of sections, which is noted as a problem."""
        good: dict[str, Any] = {}
        for table, content in layer.items():
            if table not in SECTIONS:
                self.problems.append(Problem(table, "", unknown("section", table, SECTIONS)))
            elif not isinstance(content, dict):
                self.problems.append(Problem(table, "", "it must be a table"))
            elif table in NAMED:
                bad = [name for name, fields in content.items() if not isinstance(fields, dict)]
                self.problems += [
                    Problem(f"{table}.{name}", "", f"it must be a table; a section of its own is [{table}.{name}]")
                    for name in bad
                ]
                good[table] = {name: fields for name, fields in content.items() if name not in bad}
            else:
                good[table] = content
        return good


def default_plugin(kind: PluginKind, name: str) -> str:
    """Return the plugin of a section that does not name one."""
    defaults = {PluginKind.BROKER: "memory", PluginKind.STORE: "sqlite"}
    return defaults.get(kind, name)
