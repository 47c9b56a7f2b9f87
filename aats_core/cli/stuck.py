"""Tells of ready tasks that no worker can take: they would wait in silence for as long as nobody changes the team."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from aats_core.cli.screen import Screen
from aats_core.cli.waits import explain
from aats_core.errors import AatsError
from aats_core.operations import Operations

LOOKS_PER_LEASE = 3
"""As often as workers say what they offer."""

log = logging.getLogger("aats.cli")


class StuckTasks:
    """Says of each plan once why tasks of it cannot begin, and again where the reason comes back or is another.

    A reason counts once it has stood for `lease` seconds: by then every worker there is has been heard of.
    """

    def __init__(self, team: Operations, screen: Screen, *, lease: float) -> None:
        self._team = team
        self._screen = screen
        self._lease = lease
        self._since: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()

    async def watch(self, ready: Callable[[], Sequence[str]]) -> None:
        """Look again and again at the tasks whose ids `ready` returns; until cancelled."""
        while True:
            await asyncio.sleep(self._lease / LOOKS_PER_LEASE)
            await self.look(ready())

    async def look(self, ready: Sequence[str]) -> None:
        """Look at ready tasks once, and tell what there is to tell."""
        try:
            waits = await explain(self._team, ready)
        except (AatsError, TimeoutError) as error:
            log.debug("why tasks wait is not known: %s", error)
            return
        found: dict[tuple[str, str], list[str]] = {}
        for task, wait in waits.items():
            if wait.stuck:
                found.setdefault((task.partition("/")[0], wait.reason), []).append(task)
        self._tell(found, asyncio.get_running_loop().time())

    def _tell(self, found: Mapping[tuple[str, str], Sequence[str]], now: float) -> None:
        self._since = {key: self._since.get(key, now) for key in found}
        self._told &= found.keys()
        for key, tasks in found.items():
            if key not in self._told and now - self._since[key] >= self._lease:
                self._told.add(key)
                who = f"{tasks[0]} and {len(tasks) - 1} more wait" if len(tasks) > 1 else f"{tasks[0]} waits"
                self._screen.note(f"{who}: {key[1]}")
