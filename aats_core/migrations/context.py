"""What a step is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from aats_core.errors import InvalidRequest
from aats_core.migrations.ledger import Entry, Ledger
from aats_core.settings import TeamInfo
from aats_core.store import Capability, Records, RecordStore, Store, Write

C = TypeVar("C", bound=Capability)


class MigrationContext:
    """The stores that a step touches, and how far it is. Without a store's name, its first store is meant."""

    def __init__(
        self,
        stores: Mapping[str, Store],
        begun: Mapping[str, tuple[Ledger, Entry]],
        *,
        transaction: Records | None,
        info: TeamInfo,
        report: Callable[[str], None],
    ) -> None:
        self.info = info
        self._stores = stores
        self._begun = begun
        self._transaction = transaction
        self._report = report

    def records(self, store: str = "") -> Records:
        """Return the records of a store, in the step's transaction where it has one."""
        found = self._store(store)
        return self._transaction if self._transaction is not None else _capability(found, store, RecordStore)

    def get(self, capability: Callable[..., C], store: str = "") -> C:
        """Return what a store can do beside that, such as `RecordStore` (for `ensure`) or `GraphStore`.

        Not in a transaction.
        """
        return _capability(self.store(store), store, capability)

    def store(self, store: str = "") -> Store:
        """Return a store itself, for `native`; not in a transaction."""
        found = self._store(store)
        self._refuse_in_transaction("has the records of its transaction only")
        return found

    async def position(self, key: str = "", *, store: str = "") -> Any:
        """Return what `advance` noted last under that key, by this run or one that it goes on from; None at first."""
        ledger, entry = self._ledger(store)
        return await ledger.position(entry, key)

    async def advance(self, position: Any, *writes: Write, key: str = "", store: str = "") -> None:
        """Apply writes to a store that keeps records and note how far the step is, in one transaction.

        After a crash `position` tells where to go on, so that each of these writes happens once. Raises `Conflict`,
        and nothing is written, where another process has taken the step over.
        """
        ledger, entry = self._ledger(store, writes)
        await ledger.advance(entry, key, position, writes)

    def report(self, text: str) -> None:
        """Tell who watches how far it is."""
        self._report(text)

    def _ledger(self, store: str, writes: Sequence[Write] = ()) -> tuple[Ledger, Entry]:
        """Return the ledger of a store; of one that keeps no records, that which has the step."""
        self._refuse_in_transaction("is done as a whole or not at all")
        self._store(store)
        name = store or next(iter(self._stores))
        if name not in self._begun and writes:
            raise InvalidRequest(f"store {name} keeps no records, so that nothing can be written to it with a position")
        return self._begun.get(name) or next(iter(self._begun.values()))

    def _refuse_in_transaction(self, what: str) -> None:
        if self._transaction is not None:
            raise InvalidRequest(f"a step in a transaction {what}; set `atomic = False` in its class")

    def _store(self, store: str) -> Store:
        name = store or next(iter(self._stores))
        if name not in self._stores:
            raise InvalidRequest(f"it touches store {name!r}, which its `stores` do not name")
        return self._stores[name]


def _capability(store: Store, name: str, wanted: Callable[..., C]) -> C:
    """Return what a store has of a class; it is given as something callable, since the class may be abstract."""
    assert isinstance(wanted, type), "capabilities are classes"
    found = next((part for part in store.capabilities if isinstance(part, wanted)), None)
    if found is None:
        raise InvalidRequest(f"the store{name and ' '}{name} has no {wanted.__name__}")
    return cast("C", found)
