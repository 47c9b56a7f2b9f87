"""Which stores a step touches, and which of them record it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aats_core.errors import MigrationError
from aats_core.migrations.ledger import Ledger
from aats_core.migrations.steps import Step
from aats_core.store import RecordStore, Store

PRIMARY = "primary"


class Places:
    """The stores of a team by name, and the ledgers of those that keep records."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self.stores = stores
        self.ledgers = find_ledgers(stores)

    def resolve(self, name: str) -> str:
        """Return the name of the store that a step means: primary is also the only one that keeps records."""
        if name == PRIMARY and name not in self.stores and len(self.ledgers) == 1:
            return next(iter(self.ledgers))
        return name

    def of(self, step: Step) -> list[str]:
        """Return the stores that record a step: those it touches, or where none keeps records the primary one."""
        touched = dict.fromkeys(map(self.resolve, step.migration.stores))
        return [name for name in touched if name in self.ledgers] or [self.resolve(PRIMARY)]

    def check(self, steps: Sequence[Step]) -> None:
        """Raise `MigrationError` with each step that touches a store that is not there, or that none can record."""
        problems = []
        for step in steps:
            unknown = [name for name in step.migration.stores if self.resolve(name) not in self.stores]
            known = ", ".join(self.stores)
            problems += [
                f"{step.file.path}: it touches store {name!r}, but the team's stores are {known}" for name in unknown
            ]
            if not unknown and not self.ledgers.keys() >= set(self.of(step)):
                problems.append(f"{step.file.path}: no store can record it; it needs [stores.primary] with records")
        if problems:
            raise MigrationError("\n".join(problems))


def find_ledgers(stores: Mapping[str, Store]) -> dict[str, Ledger]:
    """Return the ledger of each store that keeps records."""
    return {
        name: Ledger(name, part)
        for name, store in stores.items()
        for part in store.capabilities
        if isinstance(part, RecordStore)
    }
