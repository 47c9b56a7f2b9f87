"""Carries a team's steps out: one process at a time, in order, each recorded where it was made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

import msgspec

from aats_core.clock import Clock, RealClock
from aats_core.errors import LeaseHeld, LeaseLost, MigrationError
from aats_core.lease import Lease, this_process
from aats_core.migrations.context import MigrationContext
from aats_core.migrations.execution import Execution
from aats_core.migrations.ledger import Direction, Entry, Ledger
from aats_core.migrations.places import Places
from aats_core.migrations.state import Standing, StepState, faults
from aats_core.migrations.steps import Step, choose
from aats_core.settings import TeamInfo
from aats_core.store import Records, Store

LEASE = "migrations"


class Observer(Protocol):
    """Hears what happens, as it happens."""

    def waiting(self, holder: str) -> None:
        """Another process is migrating a store."""

    def begun(self, step: Step, direction: Direction, *, resumed: bool) -> None:
        """A step has begun, or goes on from an attempt that came to no end."""

    def note(self, step: Step, text: str) -> None:
        """A step says how far it is."""

    def done(self, step: Step, direction: Direction, seconds: float) -> None:
        """A step is done."""


class Migrator:
    """Carries a team's steps out in its connected stores.

    Raises `MigrationError` where a step touches a store that the team does not have, or none of them keeps records.
    """

    def __init__(
        self, steps: Sequence[Step], stores: Mapping[str, Store], info: TeamInfo, *, clock: Clock | None = None
    ) -> None:
        self._steps = steps
        self._places = Places(stores)
        self._info = info
        self._clock = clock or RealClock()
        self._by = this_process()
        self._leases: dict[str, Lease] = {}
        self._places.check(steps)

    # Questions

    async def standings(self) -> tuple[list[Standing], list[str]]:
        """Return where each step stands, in their order, and why nothing can be carried out, if so."""
        ledgers = self._places.ledgers
        read = await asyncio.gather(*(ledger.entries() for ledger in ledgers.values()))
        entries = dict(zip(ledgers, read, strict=True))
        found = [Standing(step, self._entries(step, entries)) for step in self._steps]
        return found, faults(found, entries)

    def _entries(self, step: Step, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Entry]:
        nothing = Entry(step.id, step.file.source.name)
        return {store: entries[store].get(step.id, nothing) for store in self._places.of(step)}

    async def plan_up(self, to: str = "") -> list[Standing]:
        """Return the steps that `up` would carry out now; raises `MigrationError` where it would refuse."""
        standings, problems = await self.standings()
        _refuse(problems)
        last = self._steps.index(choose(self._steps, to)) if to else len(self._steps)
        return [one for one in standings[: last + 1] if one.state is not StepState.APPLIED]

    async def plan_down(self, *, to: str = "", count: int | None = None) -> list[Standing]:
        """Return what `down` would revert now, last first: what comes after the step `to`, or the last so many."""
        standings, problems = await self.standings()
        _refuse(problems)
        first = self._steps.index(choose(self._steps, to)) + 1 if to else 0
        chosen = [one for one in reversed(standings[first:]) if one.state is not StepState.PENDING][:count]
        _refuse(
            [
                f"{one.step.file.path}: it cannot be reverted: {one.step.migration.irreversible}"
                for one in chosen
                if one.step.migration.irreversible
            ]
        )
        return chosen

    # Changes

    async def up(self, observer: Observer, *, to: str = "", wait: float | None = None) -> list[Step]:
        """Carry out every step that has not been, or those up to one, and return them.

        Waits `wait` seconds for another migrator, then raises `LeaseHeld`. Raises `MigrationFailed` where a step does;
        those before it are done.
        """
        async with self._alone(observer, wait):
            return await self._carry_out(await self.plan_up(to), Direction.UP, observer)

    async def down(
        self, observer: Observer, *, to: str = "", count: int | None = None, wait: float | None = None
    ) -> list[Step]:
        """Revert what `plan_down` says, and return it; waits and raises as `up` does."""
        async with self._alone(observer, wait):
            return await self._carry_out(await self.plan_down(to=to, count=count), Direction.DOWN, observer)

    async def accept(self, id: str) -> Step:
        """Take the file of an applied step as it is now for what was applied, and return the step."""
        step = choose(self._steps, id)
        standings, _ = await self.standings()
        [found] = [standing for standing in standings if standing.step is step]
        for store, entry in found.entries.items():
            if entry.applied:
                await self._places.ledgers[store].put(msgspec.structs.replace(entry, checksum=step.file.checksum))
        return step

    @asynccontextmanager
    async def _alone(self, observer: Observer, wait: float | None) -> AsyncIterator[None]:
        """Hold the lease of every ledger that a step is in; everybody takes them in the same order."""
        places = sorted({store for step in self._steps for store in self._places.of(step)})
        async with AsyncExitStack() as stack:
            for store in places:
                records = self._places.ledgers[store].records
                lease = self._leases[store] = Lease(records, LEASE, ttl=self._info.lease, holder=self._by)
                await stack.enter_async_context(_naming(store, lease, observer, wait))
            yield

    async def _carry_out(self, chosen: Sequence[Standing], direction: Direction, observer: Observer) -> list[Step]:
        for standing in chosen:
            step = standing.step
            work = Execution(
                standing, direction, ledgers=self._places.ledgers, leases=self._leases, by=self._by, clock=self._clock
            )
            observer.begun(step, direction, resumed=work.resumed)
            began = self._clock.monotonic()
            await work.carry_out(partial(self._context, step, observer))
            observer.done(step, direction, self._clock.monotonic() - began)
        return [standing.step for standing in chosen]

    def _context(
        self,
        step: Step,
        observer: Observer,
        begun: Mapping[str, tuple[Ledger, Entry]],
        transaction: Records | None,
    ) -> MigrationContext:
        names = {name: self._places.resolve(name) for name in step.migration.stores}
        return MigrationContext(
            {name: self._places.stores[store] for name, store in names.items()},
            {name: begun[store] for name, store in names.items() if store in begun} or begun,
            transaction=transaction,
            info=self._info,
            report=partial(observer.note, step),
        )


@asynccontextmanager
async def _naming(store: str, lease: Lease, observer: Observer, wait: float | None) -> AsyncIterator[None]:
    """Hold the lease of a store, and name the store where that fails."""
    try:
        async with lease.hold(timeout=wait, waiting=observer.waiting):
            yield
    except LeaseHeld as error:
        raise LeaseHeld(f"store {store}: another process is migrating it: {error}") from error
    except LeaseLost as error:
        raise LeaseLost(f"store {store}: {error}; what was begun goes on with the same command") from error


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise MigrationError("\n".join(problems))
