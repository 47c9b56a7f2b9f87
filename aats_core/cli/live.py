"""Progress on a terminal: a bar for each plan, what runs now, and failures as they come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aats_core.cli.output import STYLES, one_line
from aats_core.cli.screen import Display
from aats_core.cli.words import duration, plural
from aats_core.operations import PlanDetail, TaskEvent
from aats_core.task import PlanRecord, TaskState

_BAR = 24
_MARGIN = 6  # of these columns two are left of the tasks, the others keep an echoed ^C from breaking a line
_WIDEST = (28, 16, 9)  # columns for a task, its worker and its time; what it says takes the rest
_BAD = (TaskState.FAILED, TaskState.UNKNOWN)


class _Plan:
    """Where the tasks of one plan stand, by what was seen."""

    def __init__(self, detail: PlanDetail) -> None:
        self.record: PlanRecord = detail.plan
        self.states = {task.task.name: task.state for task in detail.tasks}
        self.running = {
            task.task.name: TaskEvent(
                task.plan, task.task.name, task.task.kind, task.state, task.started or 0.0, worker=task.worker
            )
            for task in detail.tasks
            if task.state is TaskState.RUNNING
        }

    def take(self, event: TaskEvent) -> None:
        """Note an event."""
        before = self.running.get(event.name)
        self.states[event.name] = event.state
        if event.state is not TaskState.RUNNING:
            self.running.pop(event.name, None)
        elif before is None or before.attempt != event.attempt or not event.progress:
            self.running[event.name] = event
        else:
            self.running[event.name] = TaskEvent(
                before.plan, before.name, before.kind, before.state, before.time, before.attempt, worker=before.worker,
                progress=event.progress,
            )  # fmt: skip

    def line(self, now: float) -> tuple[RenderableType, ...]:
        """Return the plan's row: name, bar, how many are done, what went wrong, how long it has taken."""
        counts = Counter(self.states.values())
        ended = sum(count for state, count in counts.items() if state.ended)
        bad = sum(counts[state] for state in _BAD)
        bar = ProgressBar(max(len(self.states), 1), ended, _BAR, style="dim", complete_style="red" if bad else "green")
        return (
            Text(self.record.name, style="bold"),
            bar,
            Text(f"{ended}/{len(self.states)}"),
            Text(f"{bad} failed" if bad else "", style=STYLES["failed"]),
            Text(duration(now - self.record.submitted), style="dim"),
        )


class LiveDisplay(Display):
    """Keeps a picture at the foot of the terminal, and prints above it what went wrong."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plans: dict[str, _Plan] = {}
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

    def begin(self, plan: PlanDetail) -> None:
        """Show a plan's bar."""
        self._plans[plan.plan.id] = _Plan(plan)
        self._live.start()
        self.refresh(time.time())

    def event(self, event: TaskEvent) -> None:
        """Change the picture, and print a failure or a repetition."""
        plan = self._plans.get(event.plan)
        if plan is None:
            return
        plan.take(event)
        if event.state in _BAD:
            self._print("✗", event, STYLES["failed"])
        elif event.state is TaskState.WAITING and event.attempt:
            self._print("↻", event, "yellow")

    def note(self, text: str) -> None:
        """Print a message above the picture."""
        if self._live.is_started:
            self._console.print(Text(f"aats: {text}", style="yellow"))
        else:
            super().note(text)

    def refresh(self, now: float) -> None:
        """Draw the picture as it is now."""
        if self._live.is_started:
            self._live.update(self._picture(now), refresh=True)

    def end(self) -> None:
        """Take the picture away."""
        self._live.stop()

    def _print(self, mark: str, event: TaskEvent, style: str) -> None:
        text = Text(f"{mark} {event.name}", style=style)
        text.append(f"  {one_line(event.reason)}", style="default")
        self._console.print(text)

    def _picture(self, now: float) -> RenderableType:
        plans = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(5):
            plans.add_column(no_wrap=True, overflow="ellipsis")
        for plan in self._plans.values():
            plans.add_row(*plan.line(now))
        running = sorted((event for plan in self._plans.values() for event in plan.running.values()), key=_age)
        room = max(self._console.height - len(self._plans) - 3, 1)
        return Group(plans, *self._running(running, room, now))

    def _running(self, running: list[TaskEvent], room: int, now: float) -> Iterator[RenderableType]:
        rows = [(e.name, e.worker, duration(max(now - e.time, 0.0)), one_line(e.progress)) for e in running[:room]]
        widths = [min(max((cell_len(row[n]) for row in rows), default=0), widest) for n, widest in enumerate(_WIDEST)]
        widths.append(max(self._console.width - sum(widths) - 2 * len(widths) - _MARGIN, 1))
        tasks = Table.grid(padding=(0, 2, 0, 0))
        for style, width in zip(("", "dim", "cyan", "dim"), widths, strict=True):
            tasks.add_column(style=style, width=width, no_wrap=True, overflow="ellipsis")
        for row in rows:
            tasks.add_row(*map(Text, row))
        yield Padding(tasks, (0, 0, 0, 2), expand=False)
        if len(running) > room:
            more = f"  … and {plural(len(running) - room, 'task')} more"
            yield Text(more, style="dim", no_wrap=True, overflow="ellipsis")


def _age(event: TaskEvent) -> float:
    return event.time
