"""What each worker did when, as SVG: one row for each task that a worker runs at a time, one bar for each attempt."""

from __future__ import annotations

import math

import msgspec

from aats_core.report.facts import Report, TaskReport
from aats_core.report.history import Attempt
from aats_core.report.markup import Markup, duration, join, tag
from aats_core.task import TaskState

LABELLED = 400
"""Timelines of more attempts than this have no names on their bars."""

_TICKS = 8
_THICK = 60
_NARROWEST = 0.12
_FINE = (TaskState.DONE, TaskState.RUNNING)
_LETTERS = 1.6  # in one percent of the width of an ordinary screen
_FEWEST = 4
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

Bar = tuple[TaskReport, Attempt]


def timeline(report: Report, anchors: dict[str, str]) -> Markup:
    """Return the rows of all workers above a common time axis; `anchors` are the ids of the tasks' rows."""
    rows = _rows(report)
    count = sum(len(lanes) for lanes in rows.values())
    sheet = _Sheet(
        start=report.started,
        span=max(report.elapsed, 1e-6),
        height=26 if count <= _THICK else 12,
        labelled=sum(len(task.attempts) for task in report.tasks) <= LABELLED,
        anchors=anchors,
    )
    return join(*(_worker(name, lanes, sheet) for name, lanes in rows.items()), _axis(sheet))


class _Sheet(msgspec.Struct, frozen=True):
    """What all rows share: the time axis, which places are a percentage of, and how bars look."""

    start: float
    span: float
    height: int
    labelled: bool
    anchors: dict[str, str]

    def place(self, time: float) -> float:
        return min(100.0, max(0.0, (time - self.start) / self.span * 100))

    def ticks(self) -> list[float]:
        """Return round numbers of seconds from the start to the end."""
        step = self.span / _TICKS
        if step < 1:
            power = 10.0 ** math.floor(math.log10(step))
            step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)
        else:
            step = next((size for size in _STEPS if size >= step), math.ceil(step / 86400) * 86400)
        return [index * step for index in range(int(self.span / step + 1e-9) + 1)]


def _rows(report: Report) -> dict[str, list[list[Bar]]]:
    """Return for each worker its bars in as few rows as they fit without overlapping."""
    bars = [(task, attempt) for task in report.tasks for attempt in task.attempts]
    rows: dict[str, list[list[Bar]]] = {worker: [] for worker in report.workers}
    for bar in sorted(bars, key=lambda bar: (bar[1].started, bar[1].ended)):
        lanes = rows[bar[1].worker]
        lane = next((lane for lane in lanes if lane[-1][1].ended <= bar[1].started + 1e-9), None)
        if lane is None:
            lanes.append([bar])
        else:
            lane.append(bar)
    return rows


def _worker(name: str, lanes: list[list[Bar]], sheet: _Sheet) -> Markup:
    bars = [
        _bar(task, attempt, sheet, y=index * sheet.height + 2)
        for index, lane in enumerate(lanes)
        for task, attempt in lane
    ]
    tall = len(lanes) * sheet.height
    places = [f"{sheet.place(sheet.start + at):.3f}%" for at in sheet.ticks()]
    grid = [tag("line", x1=place, x2=place, y2=tall) for place in places]
    drawing = tag("svg", tag("g", *grid, class_="grid"), *bars, class_="lanes", width="100%", height=tall)
    busy = sum(attempt.seconds for lane in lanes for _, attempt in lane)
    label = tag(
        "div",
        tag("span", name or "(unknown)", class_="worker"),
        tag("span", f"busy {duration(busy)}", class_="note"),
        class_="who",
    )
    return tag("div", label, drawing, class_="row")


def _bar(task: TaskReport, attempt: Attempt, sheet: _Sheet, *, y: int) -> Markup:
    start, height = sheet.place(attempt.started), sheet.height - 4
    width = max(sheet.place(attempt.ended) - start, _NARROWEST)
    parts: list[Markup] = [tag("rect", width="100%", height="100%", rx=3, class_="fill")]
    if attempt.state not in _FINE:
        parts.append(tag("rect", width="100%", height="100%", rx=3, class_="hatch"))
    label = _label(task, attempt, width) if sheet.labelled else ""
    if label:
        parts.append(tag("text", label, x=6, y=height / 2 + 4))
    left = f"{min(start, 100 - _NARROWEST):.3f}%"
    shape = tag("svg", *parts, x=left, y=y, width=f"{width:.3f}%", height=height)
    classes = f"bar s-{attempt.state}{' critical' if task.critical else ''}"
    title = tag("title", _describe(task, attempt, sheet))
    return tag("a", title, shape, href=f"#{sheet.anchors[task.name]}", class_=classes)


def _label(task: TaskReport, attempt: Attempt, width: float) -> str:
    """Return as much of the attempt's name as a bar of that width (in percent) has room for."""
    mark = "" if attempt.state in _FINE else "✕ "
    number = f" #{attempt.number}" if len(task.attempts) > 1 else ""
    name = f"{mark}{task.name}{number}"
    room = int(width * _LETTERS - 1)
    if len(name) <= room:
        return name
    return f"{name[: room - 1]}…" if room >= _FEWEST else ""


def _describe(task: TaskReport, attempt: Attempt, sheet: _Sheet) -> str:
    lines = [
        f"{task.name} ({task.record.task.kind}), attempt {attempt.number}: {attempt.state}",
        f"{duration(attempt.seconds)}, from {duration(attempt.started - sheet.start)} on",
    ]
    if attempt.reason:
        lines.append(attempt.reason[:300])
    return "\n".join(lines)


def _axis(sheet: _Sheet) -> Markup:
    marks: list[Markup] = []
    for at in sheet.ticks():
        place = sheet.place(sheet.start + at)
        anchor = "start" if place < 1 else "end" if place > 97 else "middle"
        marks.append(tag("line", x1=f"{place:.3f}%", x2=f"{place:.3f}%", y2=5))
        marks.append(tag("text", _tick(at, sheet.span), x=f"{place:.3f}%", y=18, text_anchor=anchor))
    drawing = tag("svg", *marks, class_="axis", width="100%", height=22)
    return tag("div", tag("div", class_="who"), drawing, class_="row")


def _tick(seconds: float, span: float) -> str:
    if span < 1:
        return f"{seconds * 1000:g} ms"
    if seconds < 120 or span < 120:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60 or span < 7200:
        return f"{minutes} m" if rest == 0 else f"{minutes} m {rest:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h" if minutes == 0 else f"{hours} h {minutes:02d}"
