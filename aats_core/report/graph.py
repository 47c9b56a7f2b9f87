"""The dependency graph of a plan as SVG, its critical path highlighted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from aats_core.report.facts import Report, TaskReport
from aats_core.report.layout import Layout, Point, Route, lay_out, lay_out_dense
from aats_core.report.markup import Markup, duration, join, tag
from aats_core.report.path import layers

BOXES = 150
"""Plans with more tasks than this are drawn as dots."""

WIDEST = 40
"""So are plans with more tasks than this side by side."""

EDGES = 20_000
"""A dense drawing shows at most so many edges besides those of the critical path."""

_BOX = Point(168, 40)
_GAP = Point(48, 14)
_DOT_ROWS = 48
_DOT_WIDTH = 6000.0


def graph(report: Report, anchors: dict[str, str]) -> Markup:
    """Return the drawing; `anchors` are the ids of the tasks' rows on the page."""
    tasks = {task.name: task for task in report.tasks}
    needs = {name: _needs(task, tasks) for name, task in tasks.items()}
    critical = set(pairwise(report.critical_path))
    columns = layers(needs)
    if len(tasks) > BOXES or max(map(len, columns), default=0) > WIDEST:
        return _dense(tasks, needs, critical, anchors, columns=len(columns))
    layout = lay_out(needs, size=_BOX, gap=_GAP)
    nodes = [_box(tasks[name], place, anchors[name]) for name, place in layout.places.items()]
    return _drawing(layout, join(*_edges(layout.routes, critical), *nodes), "graph")


def _needs(task: TaskReport, tasks: dict[str, TaskReport]) -> list[str]:
    return [need for need in dict.fromkeys(task.record.task.needs) if need in tasks]


def _dense(
    tasks: dict[str, TaskReport],
    needs: dict[str, list[str]],
    critical: set[tuple[str, str]],
    anchors: dict[str, str],
    *,
    columns: int,
) -> Markup:
    pitch = 18.0
    across = max(4.0, min(2 * pitch, _DOT_WIDTH / max(columns, 1)))
    layout = lay_out_dense(needs, across=across, down=pitch, rows=_DOT_ROWS)
    radius = min(5.5, across / 2)
    dots = [_dot(tasks[name], place, anchors[name], radius) for name, place in layout.places.items()]
    edges = _edges(layout.routes, critical)
    return _drawing(layout, join(*edges, *dots), "graph dense")


def _drawing(layout: Layout, content: Markup, class_: str) -> Markup:
    margin = 4
    width, height = round(layout.width) + 2 * margin, round(layout.height) + 2 * margin
    return tag(
        "svg",
        content,
        class_=class_,
        viewBox=f"{-margin} {-margin} {width} {height}",
        width=width,
        height=height,
        role="group",
        aria_label="Dependency graph",
    )


def _edges(routes: Sequence[Route], critical: set[tuple[str, str]]) -> list[Markup]:
    """Return the plain edges as one path below and the critical ones as one above."""
    hot = [route for route in routes if (route.source, route.target) in critical]
    cold = [route for route in routes if (route.source, route.target) not in critical][:EDGES]
    return [
        tag("path", d=" ".join(_curve(route.points) for route in cold), class_="edge"),
        tag("path", d=" ".join(_curve(route.points) for route in hot), class_="edge critical"),
    ]


def _curve(points: Sequence[Point]) -> str:
    steps = [f"M{points[0].x:.0f} {points[0].y:.0f}"]
    for here, there in pairwise(points):
        half = (there.x - here.x) / 2
        steps.append(
            f"C{here.x + half:.0f} {here.y:.0f} {there.x - half:.0f} {there.y:.0f} {there.x:.0f} {there.y:.0f}"
        )
    return "".join(steps)


def _box(task: TaskReport, place: Point, anchor: str) -> Markup:
    x, y = place.x - _BOX.x / 2, place.y - _BOX.y / 2
    inside = tag(
        "svg",
        tag("rect", class_="box", width=_BOX.x, height=_BOX.y, rx=7),
        tag("rect", class_="stripe", x=6, y=8, width=3.5, height=_BOX.y - 16, rx=1.75),
        tag("text", _shortened(task.name), x=17, y=17, class_="name"),
        tag("text", _caption(task), x=17, y=32, class_="note"),
        x=x,
        y=y,
        width=_BOX.x,
        height=_BOX.y,
    )
    frame = tag("rect", class_="frame", x=x, y=y, width=_BOX.x, height=_BOX.y, rx=7)
    return tag("a", tag("title", describe(task)), inside, frame, href=f"#{anchor}", class_=_classes(task))


def _dot(task: TaskReport, place: Point, anchor: str, radius: float) -> Markup:
    dot = tag("circle", cx=place.x, cy=place.y, r=radius)
    return tag("a", tag("title", describe(task)), dot, href=f"#{anchor}", class_=_classes(task), tabindex=-1)


def _classes(task: TaskReport) -> str:
    return f"node s-{task.state}{' critical' if task.critical else ''}"


def _shortened(name: str, length: int = 21) -> str:
    return name if len(name) <= length else f"{name[: length - 9]}…{name[-8:]}"


def _caption(task: TaskReport) -> str:
    words = [str(task.state)]
    if task.attempts:
        words.append(duration(task.seconds))
    if len(task.attempts) > 1:
        words.append(f"{len(task.attempts)} attempts")
    return " · ".join(words)


def describe(task: TaskReport) -> str:
    """Return what a pointer over the task shows."""
    lines = [f"{task.name} ({task.record.task.kind})", _caption(task)]
    if task.waited >= 0.001:
        lines.append(f"waited {duration(task.waited)} for a worker")
    if task.critical:
        lines.append("on the critical path")
    if task.record.error or task.reason:
        lines.append((task.record.error or task.reason)[:300])
    return "\n".join(lines)
