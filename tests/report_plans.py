"""Plans for the tests of reports, and a reader of the pages that are made of them."""

from __future__ import annotations

from html.parser import HTMLParser

from aats_core.operations import PlanDetail
from aats_core.report import Report, TaskReport, summarise
from aats_core.task import PlanRecord, PlanState, Task, TaskRecord, TaskState, Transition

START = 1_700_000_000.0
VOID = {"meta", "input", "br"}
Step = tuple[TaskState, float, str, int, str]


def task(name: str, *steps: Step, needs: tuple[str, ...] = (), error: str = "", output: object = None) -> TaskRecord:
    """A task of plan `p1` that went through these steps, their times counted from the plan's start."""
    history = [Transition(state, START + at, reason, attempt, worker) for state, at, reason, attempt, worker in steps]
    return TaskRecord(
        id=f"p1/{name}",
        plan="p1",
        task=Task(name=name, kind="shell.run", needs=needs),
        state=history[-1].state if history else TaskState.WAITING,
        error=error,
        output=output,
        history=history,
    )


def ran(name: str, ready: float, began: float, ended: float, *needs: str, worker: str = "build@a") -> TaskRecord:
    """A task that was done at its first attempt."""
    return task(
        name,
        (TaskState.WAITING, 0, "submitted", 0, ""),
        (TaskState.READY, ready, "its needs are done", 0, ""),
        (TaskState.RUNNING, began, "", 1, worker),
        (TaskState.DONE, ended, "", 1, ""),
        needs=needs,
    )


def skipped(name: str, at: float, *needs: str) -> TaskRecord:
    return task(
        name,
        (TaskState.WAITING, 0, "submitted", 0, ""),
        (TaskState.SKIPPED, at, f"{needs[0]} did not succeed", 0, ""),
        needs=needs,
    )


def ready(name: str) -> TaskRecord:
    return task(name, (TaskState.READY, 0, "it needs nothing", 0, ""))


def twice_failed(name: str) -> TaskRecord:
    return task(
        name,
        (TaskState.READY, 0, "submitted", 0, ""),
        (TaskState.RUNNING, 1, "", 1, "build@a"),
        (TaskState.WAITING, 3, "attempt 1 failed: code 1: first try", 1, ""),
        (TaskState.READY, 4, "", 1, ""),
        (TaskState.RUNNING, 4.5, "", 2, "build@b"),
        (TaskState.FAILED, 6, "code 1", 2, ""),
        error="code 1\nthe last line",
        output={"code": 1, "stdout": "some output", "stderr": ""},
    )


def plan(
    *tasks: TaskRecord,
    state: PlanState = PlanState.DONE,
    ended: float | None = 10,
    name: str = "release",
    **more: object,
) -> PlanDetail:
    record = PlanRecord(
        id="p1",
        name=name,
        state=state,
        submitted=START,
        ended=None if ended is None else START + ended,
        **more,  # type: ignore[arg-type]
    )
    return PlanDetail(record, list(tasks))


def report(*tasks: TaskRecord, now: float = 20, **more: object) -> Report:
    return summarise(plan(*tasks, **more), now=START + now)  # type: ignore[arg-type]


def only(found: Report) -> TaskReport:
    [result] = found.tasks
    return result


class Page(HTMLParser):
    """What is on a page: every element with its attributes, and the text outside of script and style."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    def of_class(self, word: str) -> list[dict[str, str | None]]:
        return [found for _, found in self.elements if word in (found.get("class") or "").split()]
