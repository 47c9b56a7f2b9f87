"""What a team that starts or runs says of steps that have not been carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aats_core.errors import MigrationError, StoreError
from aats_core.health import Health, HealthStatus
from aats_core.migrations.ledger import Entry
from aats_core.migrations.places import find_ledgers
from aats_core.migrations.state import StepState, settle
from aats_core.migrations.steps import read_files
from aats_core.store import Store
from aats_core.team_file import TeamFile

_NAMED = 5


class PendingSteps:
    """Which of the steps that a team had at its start are not applied. It runs none of their files.

    A step counts as applied once every ledger that has it says so.
    """

    def __init__(self, team_file: TeamFile, stores: Mapping[str, Store]) -> None:
        self._path = team_file.path
        self._ledgers = find_ledgers(stores)
        self._fault = ""
        self._ids: list[str] = []
        try:
            files, problems = read_files(team_file)
            self._ids = [file.id for file in files]
            self._fault = "; ".join(problems)
        except MigrationError as error:
            self._fault = str(error)

    @property
    def any(self) -> bool:
        """Whether the team has steps at all, or something that is wrong with them."""
        return bool(self._ids or self._fault)

    async def health(self) -> Health:
        """Say which steps are not applied and what to do; never raises."""
        if not self.any:
            return Health()
        try:
            read = await asyncio.gather(*(ledger.entries() for ledger in self._ledgers.values()))
        except StoreError as error:
            return Health(HealthStatus.DEGRADED, f"the ledgers of the migrations cannot be read: {error}")
        pending = [step for step in self._ids if not _applied([entries[step] for entries in read if step in entries])]
        if self._fault:
            return Health(HealthStatus.DEGRADED, f"the migrations are not in order: {self._fault}")
        if not pending:
            return Health()
        more = f" and {len(pending) - _NAMED} more" if len(pending) > _NAMED else ""
        names = ", ".join(pending[:_NAMED]) + more
        return Health(HealthStatus.DEGRADED, f"not migrated: {names}; run: aats migrate up {self._path}")


def _applied(entries: list[Entry]) -> bool:
    return settle(entries) is StepState.APPLIED
