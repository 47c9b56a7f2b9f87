"""Where each step stands, by what the ledgers of the stores that it touches say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from aats_core.migrations.files import PROJECT
from aats_core.migrations.ledger import Direction, Entry
from aats_core.migrations.steps import Step


class StepState(StrEnum):
    """Where a step stands."""

    APPLIED = "applied"
    PENDING = "pending"
    UNFINISHED = "unfinished"
    """It was begun and did not come to its end, or not in every store: it goes on with the next `up` or `down`."""


class Standing(msgspec.Struct, frozen=True):
    """A step, the stores whose ledgers have it, its entry in each (an empty one where there is none)."""

    step: Step
    entries: Mapping[str, Entry]

    @property
    def home(self) -> Entry:
        """The entry in the first of its stores, the last to be written."""
        return next(iter(self.entries.values()))

    @property
    def state(self) -> StepState:
        """Where it stands."""
        return settle(list(self.entries.values()))

    @property
    def changed(self) -> bool:
        """Whether its file is not any more what was applied."""
        return any(entry.applied and entry.checksum != self.step.file.checksum for entry in self.entries.values())

    @property
    def error(self) -> str:
        """How its last attempt failed, if it did."""
        return next((entry.attempt.error for entry in self.entries.values() if entry.attempt), "")

    def run_to_go_on_from(self, direction: Direction) -> str:
        """Return the run that an attempt in that direction continues, or nothing where it begins one."""
        entries = self.entries.values()
        for entry in entries:
            if entry.attempt is not None and not entry.attempt.atomic and entry.attempt.direction is direction:
                return entry.attempt.run
        if self.state is StepState.UNFINISHED and not any(entry.unfinished for entry in entries):
            wanted = direction is Direction.UP
            return next((entry.run for entry in entries if entry.applied is wanted and entry.run), "")
        return ""


def settle(entries: Sequence[Entry]) -> StepState:
    """Return what the entries of one step come to together."""
    applied = [entry.applied for entry in entries]
    if any(entry.unfinished for entry in entries) or len(set(applied)) > 1:
        return StepState.UNFINISHED
    return StepState.APPLIED if applied and applied[0] else StepState.PENDING


def faults(standings: Sequence[Standing], ledgers: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    """Return why nothing can be carried out: what the ledgers and the files contradict each other in, a line each."""
    return [*_changed(standings), *_missing(standings, ledgers), *_overtaken(standings)]


def _changed(standings: Sequence[Standing]) -> list[str]:
    return [
        f"{standing.step.file.path}: its content is not what was applied to {', '.join(standing.entries)}; restore it "
        f"and put the change into a new step, or accept it as it is: aats migrate up FILE --accept {standing.step.id}"
        for standing in standings
        if standing.changed
    ]


def _missing(standings: Sequence[Standing], ledgers: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    """Find steps that were applied and whose files are gone; those of plugins that the team has no more are let be."""
    known = {standing.step.id for standing in standings}
    sources = {PROJECT, *(standing.step.file.source.name for standing in standings)}
    return [
        f"{step}: it was applied to store {store}, but there is no such step here; "
        "restore its file, or use the version that has it"
        for store, entries in ledgers.items()
        for step, entry in entries.items()
        if step not in known and entry.source in sources and (entry.applied or entry.unfinished)
    ]


def _overtaken(standings: Sequence[Standing]) -> list[str]:
    """Find steps that a later one of the same source has overtaken in one of their stores."""
    found = []
    for index, standing in enumerate(standings):
        if standing.state is not StepState.PENDING:
            continue
        source = standing.step.file.source
        later = next(
            (
                other.step.id
                for other in standings[index + 1 :]
                if other.step.file.source == source
                and other.state is StepState.APPLIED
                and other.entries.keys() & standing.entries.keys()
            ),
            None,
        )
        if later is not None:
            found.append(
                f"{standing.step.file.path}: {later} was applied without it; give it a number above that one's"
            )
    return found
