"""Leadership: of all project managers on one store, one leads at a time; the others stand by."""

from __future__ import annotations

import logging

from aats_core.clock import Clock
from aats_core.errors import InvalidRequest, LeaseHeld, StoreError
from aats_core.lease import Lease
from aats_core.settings import TeamInfo
from aats_core.store import RecordStore, Require
from aats_core.task import PROJECT_MANAGER

log = logging.getLogger("aats.project-manager")


class Leadership:
    """The part of this process in the election. It goes by the name of the node, whose state directory is its alone.

    So a project manager that comes back after a crash leads again at once, and one on another host once the lease
    has run out.
    """

    def __init__(self, records: RecordStore, info: TeamInfo, clock: Clock) -> None:
        self._lease = Lease(records, PROJECT_MANAGER, ttl=info.lease, id=info.node, clock=clock)
        self._clock = clock
        self.leads = False
        """Whether this one leads, as far as it knows; `fence` makes sure."""

    @property
    def fence(self) -> Require:
        """What refuses a write once another leads."""
        return self._lease.fence

    async def seize(self) -> bool:
        """Become the leader if there is none, and tell whether that is so."""
        try:
            await self._lease.acquire(timeout=0, waiting=lambda holder: log.info("standing by: %s leads", holder))
        except LeaseHeld:
            return False
        return True

    async def wait(self, retry_delay: float) -> None:
        """Stand by until there is no other leader, and become it."""
        while True:
            try:
                await self._lease.acquire()
            except StoreError as error:
                log.warning("who leads cannot be seen: %s", error)
                await self._clock.sleep(retry_delay)
            else:
                return

    async def keep(self) -> None:
        """Stay the leader; raises `LeaseLost` where another has become it."""
        await self._lease.keep()

    async def check(self, retry_delay: float) -> None:
        """Return if this one still leads, and raise `LeaseLost` otherwise; waits for a store that cannot say."""
        while True:
            try:
                await self._lease.renew()
            except StoreError:
                await self._clock.sleep(retry_delay)
            else:
                return

    async def leader(self) -> str:
        """Return the node of who leads; raises `InvalidRequest` where nobody does just now."""
        found = await self._lease.look()
        if found is None or not found["holder"]:
            raise InvalidRequest("no project manager leads the team just now; try again in a moment")
        return str(found["id"])

    async def resign(self) -> None:
        """Leave the lead to whoever stands by."""
        if self.leads:
            self.leads = False
            await self._lease.release()
