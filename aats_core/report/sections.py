"""The parts of the page in words: how the plan ended, what failed, and what did not run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from aats_core.report.facts import Report, TaskReport
from aats_core.report.history import Attempt
from aats_core.report.markup import Markup, clean, duration, join, moment, plural, tag
from aats_core.report.table import badge
from aats_core.task import PlanState, TaskState

_OPEN = 10
_ROWS = 25
_OUTPUT = 20_000
_VALUE = 200


def head(report: Report) -> Markup:
    """Return the outcome in one line, the figures, and how many tasks are in which state."""
    plan = report.plan
    return tag(
        "header",
        tag("p", "Plan report", class_="kicker"),
        tag("h1", plan.name, " ", badge(plan.state)),
        tag("p", outcome(report), class_="outcome"),
        tag("p", plan.description, class_="note") if plan.description else "",
        _figures(report),
        _states(report),
        _facts(report),
    )


def outcome(report: Report) -> str:
    """Return in one sentence how the plan ended or where it stands."""
    failed, idle = len(report.failures), len(report.not_run)
    span = duration(report.elapsed)
    if report.plan.state is PlanState.ACTIVE:
        left = sum(not task.state.ended for task in report.tasks)
        return f"Active for {span}: {plural(left, 'task')} of {len(report.tasks):,} to go."
    if report.plan.state is PlanState.DONE:
        done = sum(task.state is TaskState.DONE for task in report.tasks)
        return f"Done in {span}: {plural(done, 'task')} of {len(report.tasks):,} carried out."
    words = "Cancelled" if report.plan.state is PlanState.CANCELLED else "Failed"
    return f"{words} after {span}: {plural(failed, 'task')} failed, {idle:,} did not run."


def _figures(report: Report) -> Markup:
    attempts = sum(len(task.attempts) for task in report.tasks)
    repeated = sum(len(task.attempts) > 1 for task in report.tasks)
    parallel = report.work / report.elapsed if report.elapsed else 0.0
    figures = [
        ("Elapsed", duration(report.elapsed), f"from {moment(report.started)}"),
        ("Work", duration(report.work), f"{parallel:.1f} attempts at a time on average"),
        ("Critical path", duration(report.critical_seconds), plural(len(report.critical_path), "task")),
        ("Tasks", f"{len(report.tasks):,}", plural(len(report.workers), "worker")),
        ("Attempts", f"{attempts:,}", f"{plural(repeated, 'task')} tried again"),
    ]
    if report.plan.deadline is not None:
        figures.append(("Deadline", *_deadline(report, report.plan.deadline)))
    return tag("dl", *(_figure(*figure) for figure in figures), class_="figures")


def _figure(title: str, value: str, note: str) -> Markup:
    return tag("div", tag("dt", title), tag("dd", value), tag("dd", note, class_="note"))


def _deadline(report: Report, deadline: float) -> tuple[str, str]:
    """Return how much time was left at the end, or is left now."""
    spare = deadline - report.ended
    return duration(abs(spare)), f"{'to spare' if spare >= 0 else 'late'}, it {_was(report)} {moment(deadline)}"


def _was(report: Report) -> str:
    return "is" if report.plan.ended is None else "was"


def _states(report: Report) -> Markup:
    counts = Counter(task.state for task in report.tasks)
    present = [state for state in TaskState if counts[state]]
    bars, place = [], 0.0
    for state in present:
        share = counts[state] / len(report.tasks) * 100
        bars.append(tag("rect", x=f"{place:.3f}%", width=f"{share:.3f}%", height=10, class_=f"s-{state}"))
        place += share
    legend = [tag("li", tag("i", class_=f"s-{state}"), f"{counts[state]:,} {state}") for state in present]
    return tag("div", tag("svg", *bars, class_="share", width="100%", height=10), tag("ul", *legend), class_="states")


def _facts(report: Report) -> Markup:
    if not report.plan.inputs:
        return Markup()
    pairs = [
        join(tag("dt", name), tag("dd", clean(_shown(value))[:_VALUE])) for name, value in report.plan.inputs.items()
    ]
    return tag("details", tag("summary", f"{plural(len(pairs), 'input')}"), tag("dl", *pairs, class_="inputs"))


def failures(report: Report, anchors: dict[str, str]) -> Markup:
    """Return every task that failed with the whole message of every attempt that did."""
    if not report.failures:
        return Markup()
    opened = len(report.failures) <= _OPEN
    parts = [_failure(task, anchors[task.name], opened=opened) for task in report.failures]
    count = plural(len(parts), "task")
    list_ = tag("div", *parts, class_=None if opened else "many")
    return tag("section", tag("h2", "Failures ", tag("small", count)), list_, class_="failures")


def _failure(task: TaskReport, anchor: str, *, opened: bool) -> Markup:
    tries = plural(len(task.attempts), "attempt")
    message = task.record.error or (task.attempts[-1].reason if task.attempts else "") or "No reason was recorded."
    message = message.strip("\n")
    summary = tag(
        "summary",
        badge(task.state),
        " ",
        tag("a", task.name, href=f"#{anchor}", class_="name"),
        tag("span", f" {task.record.task.kind}, {tries}, {duration(task.seconds)}", class_="note"),
        tag("span", message.split("\n", 1)[0], class_="brief"),
    )
    earlier = [
        tag("li", f"attempt {attempt.number} on {attempt.worker}: ", _bare(attempt))
        for attempt in task.attempts[:-1]
        if attempt.reason
    ]
    return tag(
        "details",
        summary,
        tag("pre", message),
        tag("ul", *earlier, class_="earlier") if earlier else "",
        _output(task.record.output),
        open=opened,
        class_="failure",
    )


def _bare(attempt: Attempt) -> str:
    """Return why an attempt ended, without the number that stands before it anyway."""
    return attempt.reason.removeprefix(f"attempt {attempt.number} failed: ")


def _output(output: Any) -> Markup:
    if output is None:
        return Markup()
    return tag("details", tag("summary", "Output"), _streams(output), class_="output")


def _streams(output: Any) -> Markup:
    if not isinstance(output, dict):
        return tag("pre", _cut(_shown(output)))
    told = {name: value for name, value in output.items() if value not in ("", None) and value is not False}
    short = {name: value for name, value in told.items() if isinstance(value, int | float)}
    long = {name: value for name, value in told.items() if name not in short}
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", _shown(value)), class_="short") for name, value in short.items()),
        *(tag("div", tag("dt", name), tag("dd", tag("pre", _cut(_shown(value))))) for name, value in long.items()),
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode("utf-8", "replace")


def _cut(value: str) -> str:
    value = value.rstrip("\n")
    return value if len(value) <= _OUTPUT else f"… {len(value) - _OUTPUT:,} characters before\n{value[-_OUTPUT:]}"


def not_run(report: Report, anchors: dict[str, str]) -> Markup:
    """Return every task that no worker began, with the reason and the tasks that are to blame."""
    if not report.not_run:
        return Markup()
    rows = [
        tag(
            "tr",
            tag("th", tag("a", task.name, href=f"#{anchors[task.name]}", class_="name"), scope="row"),
            tag("td", badge(task.state)),
            tag("td", task.reason or "No reason was recorded.", class_="message"),
            tag("td", *_blame(task, anchors)),
        )
        for task in report.not_run
    ]
    heads = [tag("th", title, scope="col") for title in ("Task", "State", "Why", "Because of")]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))
    title = "Did not run " if report.plan.ended is not None else "Not begun yet "
    class_ = "scroll" if len(rows) <= _ROWS else "scroll many"
    return tag("section", tag("h2", title, tag("small", plural(len(rows), "task"))), tag("div", table, class_=class_))


def _blame(task: TaskReport, anchors: dict[str, str]) -> list[Markup]:
    return [join(tag("a", name, href=f"#{anchors[name]}"), " ") for name in task.causes]
