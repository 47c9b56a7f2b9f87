"""Progress where the output is piped: a line for each transition, or a JSON object."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from aats_core.cli.output import as_data, one_line, print_json_line
from aats_core.cli.screen import Display
from aats_core.cli.words import clock_time, plural
from aats_core.operations import PlanDetail, TaskEvent


class Lines(Display):
    """Prints time, task, state and reason of every transition."""

    def __init__(self) -> None:
        self._last: dict[str, TaskEvent] = {}

    def begin(self, plan: PlanDetail) -> None:
        """Say what is to be carried out."""
        deadline = f", deadline {clock_time(plan.plan.deadline)}" if plan.plan.deadline is not None else ""
        print(
            f"{clock_time(plan.plan.submitted)}  {plan.plan.id}: {plural(len(plan.tasks), 'task')}{deadline}",
            flush=True,
        )

    def event(self, event: TaskEvent) -> None:
        """Print a line; nothing where the event only tells again, with the end of its plan, what a task came to."""
        task = f"{event.plan}/{event.name}"
        before, self._last[task] = self._last.get(task), event
        if before is not None and msgspec.structs.replace(event, plan_state=before.plan_state) == before:
            return
        if event.progress:
            moment, said = time.time(), event.progress
        else:
            moment, said = event.time, event.reason if event.reason != event.state else ""
        parts = (clock_time(moment), task, f"{event.state:<9}", event.worker, one_line(said))
        print("  ".join(part for part in parts if part).rstrip(), flush=True)


class JsonLines(Display):
    """Prints every event as a JSON object whose `type` is `plan` or `task`."""

    def begin(self, plan: PlanDetail) -> None:
        """Print the plan as it stands, without its tasks."""
        print_json_line(typed("plan", plan.plan))

    def event(self, event: TaskEvent) -> None:
        """Print the event."""
        print_json_line(typed("task", event))


def typed(type: str, value: Any) -> dict[str, Any]:
    """Return a structure as a JSON object that says what it is."""
    return {"type": type, **as_data(value)}
