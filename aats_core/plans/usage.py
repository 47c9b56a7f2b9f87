"""Whether the templates of a plan refer to what will be there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from aats_core.errors import InvalidRequest
from aats_core.plans.graph import needs_of, topological_order
from aats_core.plans.place import Problems, Where, dotted
from aats_core.plans.reference import Reference, parse
from aats_core.plans.template import find_texts, has_templates
from aats_core.task import Plan, Task

ROOTS = ("inputs", "plan", "tasks")
"""What a reference may begin with."""

PLAN_FIELDS = ("id", "name")
"""What `plan` has in a template."""

TASK_FIELDS = ("error", "output", "state")
"""What `tasks.<name>` has in a template."""

_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class _Use:
    """A reference in a task's payload."""

    task: Task
    where: Where
    reference: Reference


def check_templates(plan: Plan, problems: Problems) -> None:
    """Note every template that is not valid, and every reference to what will not be there when the task runs."""
    names = {task.name for task in plan.tasks}
    far: list[_Use] = []
    for task in plan.tasks:
        for use in _find_uses(task, problems):
            wrong = _explain(use, plan, names, problems)
            if wrong:
                problems.add(use.where, f"{use.reference}: {wrong}")
            elif use.reference.path[0] == "tasks" and use.reference.path[1] not in task.needs:
                far.append(use)
    if far:
        _check_reach(needs_of(plan.tasks), far, problems)


def _find_uses(task: Task, problems: Problems) -> Iterator[_Use]:
    place: Where = ("tasks", task.name, "payload")
    if not has_templates(task.payload):
        return
    for where, text in find_texts(task.payload):
        try:
            parts = parse(text)
        except InvalidRequest as error:
            problems.add(place + where, str(error))
            continue
        for part in parts:
            if isinstance(part, Reference):
                yield _Use(task, place + where, part)


def _explain(use: _Use, plan: Plan, names: Collection[str], problems: Problems) -> str:
    """Return why the reference cannot be right wherever its task stands; empty if it can."""
    root, *rest = use.reference.path
    if root not in ROOTS:
        return f"a reference begins with {', '.join(ROOTS)}{problems.hint(str(root), ROOTS)}"
    if not rest or not isinstance(rest[0], str):
        return f"{root} must be followed by a name, such as {root}.name"
    if root == "inputs":
        return _explain_input(use, plan, problems)
    if root == "plan":
        return "" if rest[0] in PLAN_FIELDS else f"plan has only {' and '.join(PLAN_FIELDS)}"
    return _explain_task(use.task.name, rest, names, problems)


def _explain_input(use: _Use, plan: Plan, problems: Problems) -> str:
    name = str(use.reference.path[1])
    if name not in plan.inputs and not use.reference.has_default:
        return f"the plan has no input {name!r}{problems.hint(name, plan.inputs)}"
    try:
        use.reference.resolve({"inputs": plan.inputs})
    except InvalidRequest as error:
        return str(error).removeprefix(f"{use.reference}: ")
    return ""


def _explain_task(own: str, rest: list[str | int], names: Collection[str], problems: Problems) -> str:
    name = str(rest[0])
    if name not in names:
        joined = next((longer for longer in _joined(rest) if longer in names), None)
        if joined:
            return f"a name with a dot is written in brackets: {dotted(('tasks', joined))}"
        return f"no task is named {name!r}{problems.hint(name, names)}"
    if name == own:
        return "a task cannot use its own outcome"
    if len(rest) < 2 or rest[1] not in TASK_FIELDS:
        return f"say what of the task: {', '.join(dotted(('tasks', name, field)) for field in TASK_FIELDS)}"
    return ""


def _joined(steps: list[str | int]) -> Iterator[str]:
    """Yield the names that somebody may have meant who wrote dots that divide steps: `a.b`, `a.b.c` and so on."""
    name = str(steps[0])
    for step in steps[1:]:
        name = f"{name}.{step}"
        yield name


def _check_reach(needs: Mapping[str, tuple[str, ...]], uses: list[_Use], problems: Problems) -> None:
    """Note the uses of tasks that are not among the needs of the needs.

    Which of the used tasks each task can be reached from is kept as the bits of one number a task, a thousand
    used tasks at a time.
    """
    try:
        order = topological_order(needs)
    except InvalidRequest:
        return
    pending = iter(dict.fromkeys(use.reference.path[1] for use in uses))
    while chunk := list(islice(pending, _CHUNK)):
        bits = {name: 1 << index for index, name in enumerate(chunk)}
        reached: dict[str, int] = {}
        for name in order:
            mask = 0
            for need in needs[name]:
                mask |= reached.get(need, 0) | bits.get(need, 0)
            reached[name] = mask
        for use in uses:
            used = use.reference.path[1]
            if used in bits and not reached[use.task.name] & bits[used]:
                problems.add(
                    use.where,
                    f"{use.reference}: {used!r} is not among the needs of {use.task.name!r}, nor among theirs",
                )
