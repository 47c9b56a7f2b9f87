"""The steps of a team: read, checked, and put in their order."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import getdoc

import msgspec

from aats_core.errors import MigrationError
from aats_core.migrations.files import Source, StepFile, find_sources, list_files, load
from aats_core.migrations.step import Migration
from aats_core.team_file import TeamFile


class Step(msgspec.Struct, frozen=True):
    """A step that can be carried out."""

    file: StepFile
    migration: Migration

    @property
    def id(self) -> str:
        """What it is called."""
        return self.file.id

    @property
    def description(self) -> str:
        """What it does, in its own words: the first line of its docstring."""
        doc = type(self.migration).__doc__
        return (getdoc(self.migration) or "").partition("\n")[0] if doc else ""

    @property
    def atomic(self) -> bool:
        """Whether it runs in a transaction of the one store that it touches."""
        return self.migration.atomic and len(set(self.migration.stores)) == 1


def read_steps(team_file: TeamFile) -> list[Step]:
    """Return a team's steps in their order: those of plugins before its own, each kind by its numbers.

    Raises `MigrationError` with a line for each thing that is wrong with their files.
    """
    files, problems = read_files(team_file)
    steps: list[Step] = []
    for file in files:
        try:
            steps.append(Step(file, load(file)))
        except MigrationError as error:
            problems.append(str(error))
    if not problems:
        steps, problems = _sorted(steps)
    if problems:
        raise MigrationError("\n".join(problems))
    return steps


def read_files(team_file: TeamFile) -> tuple[list[StepFile], list[str]]:
    """Return the files of a team's steps without running any, and what is wrong with their names."""
    files: list[StepFile] = []
    problems: list[str] = []
    for source in find_sources(team_file):
        found, faults = list_files(source)
        files += found
        problems += faults
    return files, problems


def choose(steps: Sequence[Step], wanted: str) -> Step:
    """Return the step that an id, or the beginning of one such as its number, means."""
    found = [step for step in steps if step.id == wanted] or [step for step in steps if step.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise MigrationError(f"{wanted!r} could be {', '.join(step.id for step in found)}")
    raise MigrationError(f"there is no step {wanted!r}; `aats migrate status` lists them")


def _sorted(steps: Sequence[Step]) -> tuple[list[Step], list[str]]:
    """Return steps so that each comes after what it names and after those before it in its source."""
    by_id = {step.id: step for step in steps}
    needs = {step.id: list(step.migration.after) for step in steps}
    last: dict[Source, str] = {}
    for step in steps:
        needs[step.id] += [last[step.file.source]] if step.file.source in last else []
        last[step.file.source] = step.id
    problems = [
        f"{step.file.path}: it comes after {other!r}, which is no step of this team"
        for step in steps
        for other in step.migration.after
        if other not in by_id
    ]
    if problems:
        return [], problems
    order: dict[str, Step] = {}
    while len(order) < len(by_id):
        ready = next((name for name in by_id if name not in order and order.keys() >= set(needs[name])), None)
        if ready is None:
            return [], [f"these steps come after each other: {', '.join(sorted(by_id.keys() - order.keys()))}"]
        order[ready] = by_id[ready]
    return list(order.values()), []
