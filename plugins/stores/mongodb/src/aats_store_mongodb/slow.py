"""Logs slow commands, each with the plan that MongoDB has for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from aats_core.errors import StoreError

log = logging.getLogger("aats.store.mongodb")

_PLANNED = frozenset({"find", "aggregate", "count", "update", "delete"})
_BELOW = (
    *("queryPlanner", "winningPlan", "queryPlan", "stages", "$cursor", "shards"),
    *("inputStage", "inputStages", "outerStage", "innerStage", "thenStage", "elseStage"),
)
"""Where in the server's answer the steps of the plan are; beside them are values."""

_LONGEST = 500
"""Characters of a command that are logged."""


class SlowLog:
    """Asks for the plan of one slow command at a time, so that the log does not slow the server down further."""

    def __init__(self, seconds: float, explain: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]) -> None:
        self._seconds = seconds
        self._explain = explain
        self._task: asyncio.Task[None] | None = None

    def note(self, command: Mapping[str, Any], seconds: float) -> None:
        """Log a command that took too long, its values left out; the plan follows."""
        if seconds < self._seconds:
            return
        kind = next(iter(command))
        if kind not in _PLANNED or (self._task is not None and not self._task.done()):
            log.warning("a command took %.3f s: %s", seconds, shape(command))
            return
        self._task = asyncio.get_running_loop().create_task(self._log_plan(command, seconds))

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _log_plan(self, command: Mapping[str, Any], seconds: float) -> None:
        try:
            plan = " < ".join(_steps(await self._explain(command)))
        except StoreError as error:
            plan = str(error)
        log.warning("a command took %.3f s: %s\nits plan: %s", seconds, shape(command), plan)


def shape(command: Mapping[str, Any]) -> str:
    """Return a command as text without the values in it, which may be secret."""
    kind, collection = next(iter(command.items()))
    text = f"{kind} {collection} {_without_values({k: v for k, v in command.items() if k != kind})}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _without_values(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_without_values(each)}' for name, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(dict.fromkeys(map(_without_values, value)))}]"
    return "?"


def _steps(plan: Any) -> Iterator[str]:
    """Yield the steps of a plan, the last one first, with the indexes they use."""
    if isinstance(plan, list):
        for each in plan:
            yield from _steps(each)
    elif isinstance(plan, Mapping):
        if isinstance(plan.get("stage"), str):
            yield f"{plan['stage']} {plan.get('indexName', '')}".strip()
        for name in _BELOW:
            if name in plan:
                yield from _steps(plan[name])
