"""What must be true of a plan before it is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from aats_core.plans.deadlines import check_deadlines
from aats_core.plans.graph import find_cycles, needs_of
from aats_core.plans.limits import PRIORITY_RULE, out_of_range, priority_fits
from aats_core.plans.names import NAME_RULE, is_name
from aats_core.plans.place import Places, Problems, Where
from aats_core.plans.usage import check_templates
from aats_core.task import Plan, Task, When


def check_plan(
    plan: Plan,
    *,
    kinds: Collection[str] | None,
    now: float,
    durations: Mapping[str, float] | None = None,
    places: Places | None = None,
) -> list[str]:
    """Return everything that is wrong with a plan, one line a problem, each with its place; empty for a good plan.

    `kinds` are the task kinds that somebody runs, or `None` where that is not known. `durations` are learned run
    times in seconds by task name, for tasks that carry no estimate. With the `places` of a plan that was read from
    a file, each line begins with file and line.
    """
    problems = Problems(places)
    find_problems(plan, problems, kinds=kinds, now=now, durations=durations)
    return problems.lines()


def find_problems(
    plan: Plan,
    problems: Problems,
    *,
    kinds: Collection[str] | None,
    now: float,
    durations: Mapping[str, float] | None = None,
) -> None:
    """Note everything that is wrong with a plan."""
    if not is_name(plan.name):
        problems.add(("name",), f"{plan.name[:60]!r} cannot be a plan's name: {NAME_RULE}")
    if not priority_fits(plan.priority):
        problems.add(("priority",), f"is {plan.priority}, {PRIORITY_RULE}")
    _check_names(plan, problems)
    names = {task.name for task in plan.tasks}
    for task in plan.tasks:
        where: Where = ("tasks", task.name)
        _check_kind(task, where, kinds, problems)
        _check_needs(task, where, names, problems)
        for steps, text in out_of_range(task):
            problems.add(where + steps, text)
    cycles = find_cycles(needs_of(plan.tasks))
    for cycle in cycles:
        if len(cycle) > 2:
            problems.add(("tasks", cycle[0], "needs"), f"the tasks need each other in a circle: {_chain(cycle)}")
    check_templates(plan, problems)
    if not cycles:
        check_deadlines(plan, problems, now=now, durations=durations or {})


def _chain(names: list[str]) -> str:
    shown = names if len(names) <= 12 else [*names[:6], f"... {len(names) - 11} more ...", *names[-5:]]
    return " -> ".join(shown)


def _check_names(plan: Plan, problems: Problems) -> None:
    if not plan.tasks and not problems.has(("tasks",)):
        problems.add(("tasks",), "there are no tasks")
    for name, count in Counter(task.name for task in plan.tasks).items():
        if count > 1:
            problems.add(("tasks", name), f"{count} tasks have this name")
        if not is_name(name):
            problems.add(("tasks", name), f"{name[:60]!r} cannot be a task's name: {NAME_RULE}")


def _check_kind(task: Task, where: Where, kinds: Collection[str] | None, problems: Problems) -> None:
    if not task.kind:
        if not problems.has(where) and not problems.has((*where, "kind")):
            problems.add(where, "has no kind")
    elif kinds is not None and task.kind not in kinds:
        problems.add((*where, "kind"), f"nobody runs tasks of kind {task.kind!r}{problems.hint(task.kind, kinds)}")


def _check_needs(task: Task, where: Where, names: Collection[str], problems: Problems) -> None:
    seen: set[str] = set()
    for index, need in enumerate(task.needs):
        place = (*where, "needs", index)
        if problems.has(place):
            continue
        if need in seen:
            problems.add(place, f"{need!r} is listed twice")
        elif need == task.name:
            problems.add(place, "a task cannot need itself")
        elif need not in names:
            problems.add(place, f"no task is named {need!r}{problems.hint(need, names)}")
        seen.add(need)
    if task.when is not When.DONE and not task.needs:
        problems.add((*where, "when"), f"{task.when} asks for the outcome of needs, and the task has none")
