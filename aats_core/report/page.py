"""The report as one HTML page that needs nothing else: no network, no server, no file beside it."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from importlib.resources import files
from pathlib import Path

from aats_core.clock import RealClock
from aats_core.operations import PlanDetail
from aats_core.report.facts import Report, summarise
from aats_core.report.graph import graph
from aats_core.report.markup import Markup, join, moment, plural, tag, text
from aats_core.report.sections import failures, head, not_run
from aats_core.report.table import task_table
from aats_core.report.timeline import timeline

_NAMED = 12


def write_report(detail: PlanDetail, path: Path) -> None:
    """Write the report on a plan to a file, as one self-contained HTML page.

    The folder is made where it is missing; a file that is there is replaced as a whole, so a reader never sees half
    a page. Raises `OSError` where the file cannot be written.
    """
    page = render(summarise(detail, now=RealClock().time()))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def render(report: Report) -> str:
    """Return the page; all text in it is escaped, and its policy lets no other script or style than its own run."""
    style, script = _asset("page.css"), _asset("page.js")
    return _asset("page.html").format(
        title=text(f"{report.plan.name}: {report.plan.state}"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        body=_body(report),
    )


def _body(report: Report) -> Markup:
    anchors = {task.name: f"t{index}" for index, task in enumerate(report.tasks, 1)}
    return join(
        head(report),
        tag(
            "main",
            failures(report, anchors),
            not_run(report, anchors),
            _section("Timeline", _workers(report), timeline(report, anchors)) if report.workers else "",
            _section("Dependencies", _path(report), tag("div", graph(report, anchors), class_="scroll")),
            _section("Tasks", "", tag("div", task_table(report, anchors), class_="scroll")),
        ),
        tag("footer", _footer(report)),
    )


def _section(title: str, note: str, content: Markup) -> Markup:
    return tag("section", tag("h2", title, " ", tag("small", note)), content)


def _workers(report: Report) -> str:
    return f"{plural(len(report.workers), 'worker')}; a bar is an attempt, a hatched one did not succeed"


def _path(report: Report) -> str:
    if not report.critical_path:
        return "nothing has run"
    if len(report.critical_path) > _NAMED:
        return f"critical path: {plural(len(report.critical_path), 'task')}"
    return f"critical path: {' → '.join(report.critical_path)}"


def _footer(report: Report) -> str:
    whose = f", submitted by {report.plan.subject}" if report.plan.subject else ""
    return f"Plan {report.plan.id}{whose}. State as of {moment(report.ended)}."


def _asset(name: str) -> Markup:
    return Markup(files("aats_core.report").joinpath(name).read_text("utf-8"))


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
