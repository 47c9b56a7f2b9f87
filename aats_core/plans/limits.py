"""The ranges of a task's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from aats_core.plans.place import Where
from aats_core.task import Retries, Task

PRIORITY_RULE = "must be 1 (most urgent) to 9"
_NEGATIVE = "must not be negative"


def priority_fits(priority: int | None) -> bool:
    """Tell whether a priority is one, or absent."""
    return priority is None or 1 <= priority <= 9


def out_of_range(task: Task) -> Iterator[tuple[Where, str]]:
    """Yield where in the task a number is out of its range, and what it must be."""
    if not priority_fits(task.priority):
        yield ("priority",), f"is {task.priority}, {PRIORITY_RULE}"
    if task.timeout is not None and not task.timeout > 0:
        yield ("timeout",), "must be more than zero"
    if task.estimate is not None and not task.estimate >= 0:
        yield ("estimate",), _NEGATIVE
    for name, amount in task.resources.items():
        if not 0 <= amount < math.inf:
            yield ("resources", name), _NEGATIVE
    for field, text in _retries_out_of_range(task.retries):
        yield ("retries", field), text


def _retries_out_of_range(retries: Retries) -> Iterator[tuple[str, str]]:
    for field in ("limit", "backoff", "max_backoff", "lost"):
        if not getattr(retries, field) >= 0:
            yield field, _NEGATIVE
    if not 1 <= retries.factor <= 1000:
        yield "factor", "must be 1 to 1000"
    if not 0 <= retries.jitter <= 1:
        yield "jitter", "must be a fraction from 0 to 1"
