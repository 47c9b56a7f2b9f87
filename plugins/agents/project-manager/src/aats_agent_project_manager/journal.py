"""The journal: brings every change into the store, many in one commit, and says when each is durable."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from aats_agent_project_manager.leadership import Leadership
from aats_core.clock import Clock
from aats_core.errors import Conflict, StoreError, StoreFull, StoreUnavailable
from aats_core.store import RecordStore, Write

log = logging.getLogger("aats.project-manager")

BATCH = 1000
"""Entries in one commit at most."""


class Entry(msgspec.Struct, frozen=True):
    """Writes that belong together.

    `committed` is called once they are durable. `refused` is called where the store will not take them. A `patient`
    entry waits as long as the store is away or full; another, on which none may depend, is refused then.
    """

    writes: Sequence[Write]
    committed: Callable[[], None]
    refused: Callable[[StoreError], None]
    patient: bool = True


class Journal:
    """Writes entries in the order they were added; while one commit runs, the next batch gathers.

    Nothing is written unless this process leads when it is committed.
    """

    def __init__(self, records: RecordStore, clock: Clock, leadership: Leadership) -> None:
        self._records = records
        self._leadership = leadership
        self._clock = clock
        self._entries: deque[Entry] = deque()
        self._added = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self.trouble = ""

    def add(self, entry: Entry) -> None:
        """Have an entry written."""
        self._entries.append(entry)
        self._written.clear()
        self._added.set()

    async def flush(self) -> None:
        """Wait until everything added so far, and what follows from it, is durable, or nobody writes any more."""
        await self._written.wait()

    async def run(self, retry_delay: float) -> None:
        """Write for as long as the project manager lives, trying again after so many seconds where that fails.

        Raises `LeaseLost` where another project manager leads by now: nothing more of this one is stored.
        """
        try:
            while True:
                await self._added.wait()
                batch = [self._entries.popleft() for _ in range(min(len(self._entries), BATCH))]
                if not self._entries:
                    self._added.clear()
                await self._write(batch, retry_delay)
                if not self._entries:
                    self._written.set()
        finally:
            self._written.set()

    async def _write(self, batch: list[Entry], retry_delay: float) -> None:
        try:
            await self._records.write([self._leadership.fence, *(write for entry in batch for write in entry.writes)])
        except StoreError:
            for entry in sorted(batch, key=lambda entry: entry.patient):
                await self._write_alone(entry, retry_delay)
            return
        for entry in batch:
            entry.committed()

    async def _write_alone(self, entry: Entry, retry_delay: float) -> None:
        """Write an entry of a batch that failed, to find out which of them is the cause."""
        while True:
            try:
                await self._records.write([self._leadership.fence, *entry.writes])
            except (StoreUnavailable, StoreFull) as error:
                if not entry.patient:
                    entry.refused(error)
                    return
                self._worry(str(error))
                self._refuse_the_impatient(error)
                await self._clock.sleep(retry_delay)
            except StoreError as error:
                if isinstance(error, Conflict):
                    await self._leadership.check(retry_delay)
                entry.refused(error)
                return
            else:
                self._worry("")
                entry.committed()
                return

    def _refuse_the_impatient(self, error: StoreError) -> None:
        """Refuse what would only be found out of when its turn came, after whoever asked for it has given up."""
        refused = [entry for entry in self._entries if not entry.patient]
        self._entries = deque(entry for entry in self._entries if entry.patient)
        for entry in refused:
            entry.refused(error)

    def _worry(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.error("the store cannot be written, work goes on as soon as it can: %s", trouble)
        elif self.trouble and not trouble:
            log.info("the store can be written again")
        self.trouble = trouble
