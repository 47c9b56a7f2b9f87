"""Logs slow statements, each with the plan that Neo4j has for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aats_core.errors import StoreError

log = logging.getLogger("aats.store.neo4j")

Explain = Callable[[str], Awaitable[str]]
"""Returns the plan of a statement."""


class SlowLog:
    """Asks for the plan of one slow statement at a time, so that the log does not slow the server down further."""

    def __init__(self, limit: float, explain: Explain) -> None:
        self.limit = limit
        self._explain = explain
        self._task: asyncio.Task[None] | None = None

    def note(self, cypher: str, seconds: float) -> None:
        """Log a statement where it was slow, its values left out; the plan follows."""
        if seconds <= self.limit:
            return
        if self._task is not None and not self._task.done():
            log.warning("a statement took %.3f s: %s", seconds, cypher)
            return
        self._task = asyncio.get_running_loop().create_task(self._tell(cypher, seconds))

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _tell(self, cypher: str, seconds: float) -> None:
        try:
            plan = await self._explain(cypher)
        except StoreError as error:
            plan = str(error)
        log.warning("a statement took %.3f s: %s\nits plan: %s", seconds, cypher, plan)


def drawn(plan: Mapping[str, Any], depth: int = 0) -> str:
    """Return a plan as lines, each operator above those that feed it."""
    arguments = plan.get("args", {})
    line = f"{'  ' * depth}{plan.get('operatorType')} ({arguments.get('Details', '')})"
    return "\n".join([line, *(drawn(each, depth + 1) for each in plan.get("children", ()))])
