"""`aats tasks` and `aats task`: where tasks stand, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from aats_core.cli.address import ask
from aats_core.cli.options import HERE, Json, Limit, TeamAddress
from aats_core.cli.output import as_data, print_facts, print_json, print_table
from aats_core.cli.stored import find_plan
from aats_core.cli.waits import explain
from aats_core.cli.words import duration, local_time, took, why
from aats_core.errors import AatsError, NotFound, TeamUnavailable
from aats_core.operations import TaskDetail
from aats_core.task import TaskRecord, TaskState

_NO_TEAM = "its team does not run"


def tasks(
    plan: Annotated[str | None, Parameter(help="A plan's id, or a name for the newest of that name.")] = None,
    /,
    *,
    state: Annotated[TaskState | None, Parameter(help="Only tasks in that state.")] = None,
    limit: Limit = 1000,
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """List the tasks of a plan in the order of its file, or those of all plans, newest plan first.

    Where the team does not run, the tasks of a plan are read from its store; for that the team file has to be known.
    """
    if plan is None:
        found = ask(address, lambda team: team.tasks(None, state, limit))
    else:
        found = [record for record in find_plan(plan, address).tasks if state in (None, record.state)][:limit]
    waits = _find_waits(found, address)
    if json:
        print_json([as_data(record) | {"waits": waits.get(record.id, "")} for record in found])
        return
    now = time.time()
    rows = [(t.id, t.state, t.attempt or "", t.worker, _time_of(t, now), waits.get(t.id) or why(t)) for t in found]
    print_table(("TASK", "STATE", "ATTEMPT", "WORKER", "TOOK", "WHY"), rows)


def task(
    id: Annotated[str, Parameter(help="The task's id: PLAN/NAME.")],
    /,
    *,
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """Show one task: what it is, where it stands and why, and everything that happened to it.

    Where the team does not run, the task is read from its store; for that the team file has to be known.
    """
    detail = _find(id, address)
    if json:
        print_json(detail)
        return
    record = detail.record
    print_facts(_facts(detail))
    print_table(
        ("TIME", "STATE", "ATTEMPT", "WORKER", "WHY"),
        [(local_time(t.time), t.state, t.attempt or "", t.worker, t.reason) for t in record.history],
    )


def _find_waits(records: Iterable[TaskRecord], address: TeamAddress) -> dict[str, str]:
    """Return why ready tasks wait, by id; where that cannot be learned, it says so of each."""
    ready = [record.id for record in records if record.state is TaskState.READY]
    if not ready:
        return {}
    try:
        found = ask(address, lambda team: explain(team, ready))
    except TeamUnavailable:
        return dict.fromkeys(ready, _NO_TEAM)
    except (AatsError, TimeoutError):
        return dict.fromkeys(ready, "the task scheduler does not answer")
    return {task: wait.reason for task, wait in found.items()}


def _find(id: str, address: TeamAddress) -> TaskDetail:
    try:
        return ask(address, lambda team: team.task(id))
    except TeamUnavailable:
        plan, _, name = id.partition("/")
        for record in find_plan(plan, address).tasks:
            if record.task.name == name:
                return TaskDetail(record, "" if record.state.ended else _NO_TEAM)
        raise NotFound(f"there is no task {id!r}; a task's id is PLAN/NAME") from None


def _facts(detail: TaskDetail) -> list[tuple[str, object]]:
    record, task = detail.record, detail.record.task
    facts: list[tuple[str, object]] = [
        ("Task", record.id),
        ("Description", task.description),
        ("Kind", task.kind),
        ("State", record.state),
        ("Why", detail.waits or why(record)),
        ("Needs", ", ".join(task.needs)),
        ("Deadline", local_time(task.deadline)),
        ("Attempt", record.attempt or ""),
        ("Worker", record.worker),
        ("Took", _time_of(record, time.time())),
        ("Payload", task.payload),
        ("Output", record.output),
    ]
    return [(name, value) for name, value in facts if value not in ("", None, {})]


def _time_of(record: TaskRecord, now: float) -> str:
    if record.state is TaskState.RUNNING:
        return took(record.started, None, now=now)
    return duration(record.seconds) if record.seconds is not None else ""
