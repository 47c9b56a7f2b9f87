"""What came of plans, at the end: the outcome of each, every failure with its reason, and what did not run for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from aats_core.cli.output import STYLES, one_line
from aats_core.cli.words import duration, plural
from aats_core.operations import PlanDetail
from aats_core.report import Report, TaskReport, summarise
from aats_core.task import PlanState, TaskState

_NAMED = 12
_SHORT = 400
_MARKS = {"done": "✓", "failed": "✗", "cancelled": "✗", "active": "…"}


def print_summary(console: Console, details: Sequence[PlanDetail]) -> None:
    """Print what came of each plan; an active one has been interrupted."""
    for detail in details:
        report = summarise(detail, now=time.time())
        for indent, text in _lines(report):
            if console.is_terminal:
                console.print(Padding(text, (0, 0, 0, indent), expand=False))
            else:
                print(f"{' ' * indent}{text.plain}")


def summary(details: Sequence[PlanDetail], exit_code: int) -> dict[str, Any]:
    """Return the same as data."""
    reports = [summarise(detail, now=time.time()) for detail in details]
    return {"type": "summary", "exit_code": exit_code, "plans": [_as_data(report) for report in reports]}


def _as_data(report: Report) -> dict[str, Any]:
    return {
        "id": report.plan.id,
        "name": report.plan.name,
        "state": report.plan.state,
        "counts": report.plan.counts,
        "seconds": report.elapsed,
        "failed": [
            {
                "task": task.name,
                "state": task.state,
                "attempts": len(task.attempts),
                "reason": task.record.error,
                "not_run": [other.name for other in report.not_run if task.name in other.causes],
            }
            for task in report.failures
        ],
        "not_run": [
            {"task": task.name, "state": task.state, "reason": task.reason, "causes": task.causes}
            for task in report.not_run
            if task.state.ended
        ],
    }


def _lines(report: Report) -> Iterator[tuple[int, Text]]:
    """Yield the lines about a plan, each with how far it is indented."""
    yield 0, _headline(report)
    if report.plan.state is PlanState.ACTIVE:
        yield 2, Text("the same command goes on where it was", style="dim")
    for task in report.failures:
        yield 2, _failure(task)
        idle = [other for other in report.not_run if task.name in other.causes]
        if idle:
            yield 4, Text(f"not run because of it: {_names(idle)}", style="dim")
    rest = [task for task in report.not_run if task.state.ended and not _blamed(report, task)]
    if rest:
        yield 2, Text(f"not run: {_names(rest)}", style="dim")


def _failure(task: TaskReport) -> Text:
    tries = f" in attempt {len(task.attempts)}" if len(task.attempts) > 1 else ""
    text = Text(f"✗ {task.name} {task.state}{tries}: ", style=STYLES[task.state])
    reason = one_line(task.record.error or "no reason given")
    return text.append(reason if len(reason) <= _SHORT else f"{reason[:_SHORT]}…", style="default")


def _headline(report: Report) -> Text:
    state = str(report.plan.state)
    counts = report.plan.counts
    parts = [f"{counts[s]:,} {s}" for s in TaskState if counts.get(s)]
    text = Text(f"{_MARKS[state]} {report.plan.id} ", style=STYLES[state])
    text.append(
        f"{'interrupted' if state == 'active' else state} after {duration(report.elapsed)}", style=STYLES[state]
    )
    return text.append(f": {', '.join(parts)} of {plural(len(report.tasks), 'task')}", style="default")


def _blamed(report: Report, task: TaskReport) -> bool:
    return any(failure.name in task.causes for failure in report.failures)


def _names(tasks: Sequence[TaskReport]) -> str:
    more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
    return ", ".join(task.name for task in tasks[:_NAMED]) + more
