"""The files of steps: where they lie, which there are, and what each one defines."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec, module_from_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from aats_core.errors import MigrationError
from aats_core.migrations.step import Migration
from aats_core.team_file import TeamFile

GROUP = "aats.migrations"
"""The entry-point group in which a distribution names its package of steps."""

PROJECT = ""
"""The source of the steps that lie beside the team file."""

_NAME = re.compile(r"(\d+)_[a-z0-9_]+\.py")
_PROJECT_PACKAGE = "aats_project_migrations"


class Source(msgspec.Struct, frozen=True):
    """Where steps come from: the distribution of a plugin, or the team's own directory."""

    name: str
    directory: Path
    package: str


class StepFile(msgspec.Struct, frozen=True):
    """A file of a step as it was read: what is checked and recorded of it is also what is run."""

    source: Source
    path: Path
    number: int
    content: bytes

    @property
    def id(self) -> str:
        """What the step is called: the name of its file, after that of the distribution that ships it."""
        return f"{self.source.name}/{self.path.stem}" if self.source.name else self.path.stem

    @property
    def checksum(self) -> str:
        """A digest of the content, the same whatever ends its lines."""
        return hashlib.sha256(self.content.replace(b"\r\n", b"\n")).hexdigest()


def find_sources(team_file: TeamFile) -> list[Source]:
    """Return the sources of a team's steps: the distributions of its plugins by name, then its own directory.

    Raises `MigrationError` where one is not there.
    """
    names = sorted({section.plugin.distribution for section in team_file.sections})
    shipped = [source for name in names if (source := _shipped(name)) is not None]
    directory = team_file.path.parent / team_file.team.migrations
    if directory.is_dir():
        return [*shipped, Source(PROJECT, directory, _PROJECT_PACKAGE)]
    if "migrations" in team_file.team.model_fields_set:
        raise MigrationError(f"{team_file.path}: [team] migrations: there is no directory {directory}")
    return shipped


def _shipped(name: str) -> Source | None:
    """Return the steps of a distribution; of its packages no more is imported than what contains them."""
    try:
        points = distribution(name).entry_points.select(group=GROUP)
    except PackageNotFoundError:
        return None
    if not points:
        return None
    if len(points) > 1:
        raise MigrationError(f"{name}: a distribution has one package of steps, {GROUP} names {len(points)}")
    [point] = points
    try:
        spec = find_spec(point.value)
    except Exception as error:
        raise MigrationError(f"{name}: its steps, {point.value}, cannot be found: {error}") from error
    places = list((spec and spec.submodule_search_locations) or ())
    if not places or not Path(places[0]).is_dir():
        raise MigrationError(f"{name}: its steps, {point.value}, are not a package in a directory")
    return Source(name, Path(places[0]), point.value)


def list_files(source: Source) -> tuple[list[StepFile], list[str]]:
    """Return the files of a source by their numbers, and what is wrong with their names, a line each."""
    found: list[StepFile] = []
    problems: list[str] = []
    for path in sorted(source.directory.glob("*.py")):
        match = _NAME.fullmatch(path.name)
        if match:
            try:
                found.append(StepFile(source, path, int(match[1]), path.read_bytes()))
            except OSError as error:
                problems.append(f"{path}: it cannot be read: {error.strerror}")
        elif not path.name.startswith("_"):
            problems.append(f"{path}: a step is named by a number and small letters, such as 0001_add_owner.py")
    found.sort(key=lambda file: (file.number, file.path.name))
    for one, other in pairwise(found):
        if one.number == other.number:
            problems.append(f"{other.path}: {one.path.name} has the same number; give one of them another")
    return found, problems


def load(file: StepFile) -> Migration:
    """Run a file and return the step that it defines; raises `MigrationError` with what is wrong with it."""
    found = [
        value
        for value in _execute(file).values()
        if isinstance(value, type) and issubclass(value, Migration) and value.__module__ == _module_name(file)
    ]
    if len(found) != 1:
        raise MigrationError(f"{file.path}: it has to define one subclass of aats_core.Migration, not {len(found)}")
    fault = _fault(found[0])
    if fault:
        raise MigrationError(f"{file.path}: {found[0].__name__} {fault}")
    return found[0]()


def place_of(error: BaseException, path: Path) -> str:
    """Say in which line of a file something was raised, or nothing where that was not in it."""
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f"{path}:{lines[-1]}" if lines else str(path)


def _module_name(file: StepFile) -> str:
    return f"{file.source.package}.{file.path.stem}"


def _execute(file: StepFile) -> dict[str, Any]:
    name = _module_name(file)
    module = module_from_spec(ModuleSpec(name, None, origin=str(file.path)))
    module.__file__ = str(file.path)
    sys.modules[name] = module  # what a step defines, a dataclass say, looks its module up there
    try:
        exec(compile(file.content, str(file.path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - that is what a step is
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        what = error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
        raise MigrationError(f"{place_of(error, file.path)}: it cannot be imported: {what}") from error
    return module.__dict__


def _fault(step: type[Migration]) -> str:
    if missing := sorted(step.__abstractmethods__):
        return f"does not define {', '.join(missing)}"
    if not _names(step.stores) or not step.stores:
        return "names its `stores` as a tuple of text, such as ('primary',)"
    if not _names(step.after):
        return "names what it comes `after` as a tuple of text"
    if step.down is Migration.down and not step.irreversible:
        return "has neither a `down` nor says why it is `irreversible`"
    if step.down is not Migration.down and step.irreversible:
        return "has a `down` and is `irreversible`: it is one or the other"
    return ""


def _names(value: Sequence[str]) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)
