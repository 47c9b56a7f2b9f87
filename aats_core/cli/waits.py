"""Why ready tasks wait: asked of the team in messages of bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aats_core.operations import Operations
from aats_core.task import Wait

AT_ONCE = 1000
"""Tasks that one message asks about."""

PATIENCE = 5.0
"""Seconds that the task scheduler has for each answer."""


async def explain(team: Operations, tasks: Sequence[str]) -> dict[str, Wait]:
    """Return why each of these tasks waits, by id; raises `TimeoutError` where the task scheduler is away."""
    found: dict[str, Wait] = {}
    for start in range(0, len(tasks), AT_ONCE):
        ids = list(tasks[start : start + AT_ONCE])
        async with asyncio.timeout(PATIENCE):
            found |= zip(ids, await team.explain(ids), strict=False)
    return found
