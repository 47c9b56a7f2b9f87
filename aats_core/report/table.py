"""The tasks of a plan as a table, each with a strip that shows how its time passed."""

from __future__ import annotations

from aats_core.report.facts import Report, TaskReport
from aats_core.report.markup import Markup, duration, join, tag
from aats_core.task import TaskState

_HEADS = (
    ("Task", "text"),
    ("State", "text"),
    ("Attempts", "number"),
    ("Ran", "number"),
    ("Waited", "number"),
    ("When", "none"),
    ("Error", "text"),
)
_MESSAGE = 200


def task_table(report: Report, anchors: dict[str, str]) -> Markup:
    """Return the table, in the order of the plan; `anchors` are the ids of its rows."""
    heads = [tag("th", title, scope="col", data_sort=sort) for title, sort in _HEADS]
    rows = [_row(report, task, anchors[task.name]) for task in report.tasks]
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="tasks")


def _row(report: Report, task: TaskReport, anchor: str) -> Markup:
    kind = tag("span", task.record.task.kind, class_="note")
    mark = tag("span", "critical", class_="flag", title="on the critical path") if task.critical else ""
    waited = f"ready for {duration(task.waited)} before a worker took it; before that {duration(task.held)} held back"
    return tag(
        "tr",
        tag("th", tag("span", task.name, class_="name"), " ", mark, kind, scope="row"),
        tag("td", badge(task.state)),
        tag("td", len(task.attempts), data_value=len(task.attempts), class_="number"),
        tag("td", duration(task.seconds) if task.attempts else "", data_value=f"{task.seconds:.6f}", class_="number"),
        tag("td", duration(task.waited), data_value=f"{task.waited:.6f}", class_="number", title=waited),
        tag("td", _strip(report, task)),
        tag("td", _message(task), class_="message"),
        id=anchor,
        data_state=task.state,
    )


def badge(state: str) -> Markup:
    """Return the state as a coloured word."""
    return tag("span", state, class_=f"badge s-{state}")


def _strip(report: Report, task: TaskReport) -> Markup:
    scale = 100 / max(report.elapsed, 1e-6)
    stretches: list[tuple[TaskState, float, float]] = [
        (phase.state, phase.started, phase.ended) for phase in task.phases if phase.state != TaskState.RUNNING
    ]
    stretches += [(attempt.state, attempt.started, attempt.ended) for attempt in task.attempts]
    parts = [
        tag(
            "rect",
            tag("title", f"{state}, {duration(end - start)}"),
            x=f"{(start - report.started) * scale:.2f}%",
            width=f"{max((end - start) * scale, 0.8):.2f}%",
            y=5 if state is TaskState.WAITING else 2,
            height=2 if state is TaskState.WAITING else 8,
            class_=f"s-{state}",
        )
        for state, start, end in stretches
        if end > start
    ]
    return tag("svg", join(*parts), class_="strip", width="100%", height=12)


def _message(task: TaskReport) -> str:
    message = task.record.error or task.reason
    if not message and task.attempts and task.attempts[-1].state is not TaskState.DONE:
        message = task.attempts[-1].reason
    first = message.strip().split("\n", 1)[0]
    return first if len(first) <= _MESSAGE else f"{first[:_MESSAGE]}…"
