"""The supervisor of one agent: puts another in the place of what crashed, until that has happened too often."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from aats_core import hookspecs
from aats_core.replica import Replica

if TYPE_CHECKING:
    from aats_core.host import AgentHost

log = logging.getLogger("aats.agent")

STOP_WITHIN = 10.0
"""Seconds that an agent which crashed has to stop before another takes its place."""


LONGEST_BACKOFF = 3600.0
"""Seconds that a crashed agent waits at most for its restart."""


class Supervisor:
    """Restarts the replicas of an agent that crash, as its settings say; they take over its mailbox as it is.

    `removals` stop what crashed; they take seconds at most, and are not to be cut short.
    """

    def __init__(self, host: AgentHost) -> None:
        self._host = host
        self._crashes: deque[float] = deque()
        self.removals: set[asyncio.Task[None]] = set()

    def crashed(self, replica: Replica, error: BaseException) -> None:
        """Restart a replica that crashed, with backoff; an agent that crashed too often is given up as a whole."""
        host = self._host
        if host.status in ("stopped", "failed") or replica not in host.replicas:
            return
        host.replicas.remove(replica)
        removal = self._begin_removal(replica)
        policy = host.settings.restarts
        recent = self._count(host.runtime.loop.time(), policy.window)
        given_up = recent > policy.limit
        delay = min(policy.backoff * 2.0 ** min(recent - 1, 64), LONGEST_BACKOFF)
        host.restarts += not given_up
        host.status = "failed" if given_up else "restarting"
        log.error("%s crashed%s", host.name, ", too often: given up" if given_up else ", is restarted", exc_info=error)
        host.runtime.hooks.notify(hookspecs.agent_crashed, host.name, error, 0 if given_up else host.restarts)
        host.own(self._give_up() if given_up else self._replace(replica, removal, delay))

    def _count(self, now: float, window: float) -> int:
        self._crashes.append(now)
        while self._crashes[0] < now - window:
            self._crashes.popleft()
        return len(self._crashes)

    async def _replace(self, replica: Replica, removal: asyncio.Task[None], delay: float) -> None:
        host = self._host
        await asyncio.shield(removal)
        await host.runtime.clock.sleep(delay)
        fresh = replica
        try:
            fresh = Replica(host, host.factory())
            host.replicas.append(fresh)
            await fresh.start()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - contained: a start that fails is one more crash
            if fresh is replica:
                host.replicas.append(replica)
            self.crashed(fresh, error)
            return
        if fresh not in host.replicas:
            return  # what it spawned crashed before its start had ended
        fresh.wake()
        host.status = "running"
        if host.worker is not None:
            host.worker.begin_waiting()

    def _begin_removal(self, replica: Replica) -> asyncio.Task[None]:
        host = self._host
        removal = host.runtime.loop.create_task(self._remove(replica), name=f"{host.name} removal")
        self.removals.add(removal)
        removal.add_done_callback(self.removals.discard)
        return removal

    async def _remove(self, replica: Replica) -> None:
        """Stop what is left of a replica; how well that goes is of no matter to the next."""
        if self._host.worker is not None:
            self._host.worker.hand_back("the agent crashed", replica)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await replica.stop()
        except Exception:
            log.exception("%s did not stop well after its crash", self._host.name)

    async def _give_up(self) -> None:
        replicas, self._host.replicas[:] = self._host.replicas[:], []
        try:
            await self._host.give_up()
        finally:
            for replica in replicas:
                self._begin_removal(replica)
