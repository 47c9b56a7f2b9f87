"""One step carried out in one direction: begun, run and recorded in every ledger that it is in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from aats_core.clock import Clock
from aats_core.errors import Conflict, MigrationFailed, StoreError
from aats_core.lease import Lease
from aats_core.message import new_id
from aats_core.migrations.context import MigrationContext
from aats_core.migrations.files import place_of
from aats_core.migrations.ledger import Attempt, Direction, Entry, Ledger, forget_positions
from aats_core.migrations.state import Standing
from aats_core.secrets import redact
from aats_core.store import Records

log = logging.getLogger("aats.migrations")

CONFLICTS = 90.0
"""Seconds for which a step is run again in a new transaction where somebody else changes the same.

MongoDB keeps the transaction of a client that was killed for a minute.
"""

_PAUSE = 0.5

MakeContext = Callable[[Mapping[str, tuple[Ledger, Entry]], Records | None], MigrationContext]
"""Makes what the step is given, of its entries by ledger and the transaction if it has one."""


class Execution:
    """An attempt at a step. It goes on from an earlier one that came to no end."""

    def __init__(
        self,
        standing: Standing,
        direction: Direction,
        *,
        ledgers: Mapping[str, Ledger],
        leases: Mapping[str, Lease],
        by: str,
        clock: Clock,
    ) -> None:
        self._step = standing.step
        self._entries = standing.entries
        self._direction = direction
        self._ledgers = ledgers
        self._leases = leases
        self._by = by
        self._clock = clock
        going_on = standing.run_to_go_on_from(direction)
        self.resumed = bool(going_on)
        self._run = going_on or new_id()
        self._begun: dict[str, tuple[Ledger, Entry]] = {}

    async def carry_out(self, make_context: MakeContext) -> None:
        """Carry the step out; raises `MigrationFailed` where that fails, and notes it in the ledgers."""
        migration = self._step.migration
        act = migration.up if self._direction is Direction.UP else migration.down
        try:
            await self._begin()
            if self._step.atomic:
                await self._in_transaction(lambda transaction: act(make_context(self._begun, transaction)))
            else:
                await act(make_context(self._begun, None))
                for ledger, entry in reversed(self._begun.values()):
                    await ledger.put(self._finished(entry))
        except (Exception, SystemExit) as error:
            await self._note(error)
            raise MigrationFailed(self._describe(error)) from error

    async def _begin(self) -> None:
        """Write into every ledger that the step is begun; from here on an older attempt can record nothing more."""
        for store, entry in self._entries.items():
            token = self._leases[store].token
            attempt = Attempt(self._direction, self._run, token, self._by, self._clock.time(), self._step.atomic)
            begun = msgspec.structs.replace(entry, attempt=attempt)
            ledger = self._ledgers[store]
            self._begun[store] = ledger, await ledger.put(begun, forget_positions(self._step.id, self._run))

    async def _in_transaction(self, act: Callable[[Records], Awaitable[None]]) -> None:
        """Run the step and record it in one transaction, again where that meets a conflict, for so long."""
        [(store, (ledger, entry))] = self._begun.items()
        until = self._clock.monotonic() + CONFLICTS
        with self._leases[store].unlimited():  # the entry is the fence
            while True:
                try:
                    async with ledger.records.transaction() as transaction:
                        await act(transaction)
                        await ledger.put_within(transaction, self._finished(entry))
                except Conflict as error:
                    if self._clock.monotonic() >= until:
                        raise
                    log.info("%s meets a conflict and is run again: %s", self._step.id, error)
                    await self._clock.sleep(_PAUSE)
                else:
                    return

    def _finished(self, entry: Entry) -> Entry:
        return entry.finish(checksum=self._step.file.checksum, now=self._clock.time())

    async def _note(self, error: BaseException) -> None:
        for ledger, entry in self._begun.values():
            assert entry.attempt is not None, "it has been begun"
            failed = msgspec.structs.replace(entry.attempt, error=redact(f"{type(error).__name__}: {error}"))
            try:
                await ledger.put(msgspec.structs.replace(entry, attempt=failed))
            except StoreError as problem:
                log.warning("store %s: that %s failed could not be noted: %s", ledger.store, entry.id, problem)

    def _describe(self, error: BaseException) -> str:
        kept = (
            "nothing of it was kept"
            if self._step.atomic
            else f"what it has done stays, and the next `aats migrate {self._direction}` carries it out again"
        )
        what = redact(f"{type(error).__name__}: {error}")
        place = place_of(error, self._step.file.path)
        stores = ", ".join(self._entries)
        return f"{place}: {self._direction} of {self._step.id} failed in store {stores}: {what}; {kept}"
