"""What the author of a step writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from aats_core.migrations.context import MigrationContext


class Migration(ABC):
    """One step. Its file, such as `migrations/0002_add_owner.py`, defines one subclass; the docstring describes it.

    A step that touches one store runs in a transaction of that store, which also records that the step is done: all of
    it happens or nothing. With `atomic = False`, and over several stores, it runs without one: killed in the middle
    it runs again from its beginning, so it has to be repeatable, or to go on from `MigrationContext.position`.
    """

    stores: ClassVar[Sequence[str]] = ("primary",)
    """The stores that it touches, by their names in the team file; primary is also the only one with records."""

    after: ClassVar[Sequence[str]] = ()
    """Ids of steps from elsewhere that have to come first, such as `acme-registry/0003_shelves`."""

    atomic: ClassVar[bool] = True
    """Whether it runs in a transaction where it touches one store."""

    irreversible: ClassVar[str] = ""
    """Why it cannot be reverted, where it has no `down`."""

    @abstractmethod
    async def up(self, ctx: MigrationContext) -> None:
        """Make the change."""

    async def down(self, ctx: MigrationContext) -> None:
        """Undo the change."""
        raise NotImplementedError
