"""Deadlines that nobody could meet."""

from __future__ import annotations

from collections.abc import Mapping

from aats_core.plans.graph import chain_to, earliest_ends
from aats_core.plans.place import Problems, Where
from aats_core.plans.times import format_seconds
from aats_core.task import Plan, Task, When

_SLACK = 1e-3


def check_deadlines(plan: Plan, problems: Problems, *, now: float, durations: Mapping[str, float]) -> None:
    """Note every deadline that is past, or that even workers without limit could not meet.

    A task takes its estimate, else what `durations` says, else no time. The graph must have no cycles. Needs of a
    task that waits for a failure are left out of account, since they may fail at once.
    """
    if plan.deadline is None and all(task.deadline is None for task in plan.tasks):
        return
    needs = {task.name: task.needs if task.when is not When.FAILED else () for task in plan.tasks}
    ends = earliest_ends(needs, {task.name: _seconds(task, durations) for task in plan.tasks})
    for task in plan.tasks:
        if task.deadline is not None:
            _check(task.deadline - now, task.name, ("tasks", task.name, "deadline"), problems, needs, ends)
    expected = _expected(plan, ends)
    if plan.deadline is not None and expected:
        last = max(expected, key=ends.__getitem__)
        _check(plan.deadline - now, last, ("deadline",), problems, needs, ends)


def _seconds(task: Task, durations: Mapping[str, float]) -> float:
    return task.estimate if task.estimate is not None else durations.get(task.name, 0.0)


def _expected(plan: Plan, ends: Mapping[str, float]) -> list[str]:
    """Return the tasks that run when all goes well; `ends` has every task after its needs."""
    by_name = {task.name: task for task in plan.tasks}
    skipped: set[str] = set()
    for name in ends:
        task = by_name[name]
        if task.when is When.FAILED or (task.when is When.DONE and not skipped.isdisjoint(task.needs)):
            skipped.add(name)
    return [name for name in ends if name not in skipped]


def _check(
    left: float,
    name: str,
    where: Where,
    problems: Problems,
    needs: Mapping[str, tuple[str, ...]],
    ends: Mapping[str, float],
) -> None:
    if left <= 0:
        problems.add(where, f"was {format_seconds(-left)} ago")
    elif ends[name] > left + _SLACK:
        chain = chain_to(name, needs, ends)
        shown = chain if len(chain) <= 8 else [*chain[:4], f"... {len(chain) - 7} more ...", *chain[-3:]]
        problems.add(
            where,
            f"is in {format_seconds(left)} and cannot be met even with workers without limit: "
            f"{' -> '.join(shown)} takes {format_seconds(ends[name])}",
        )
