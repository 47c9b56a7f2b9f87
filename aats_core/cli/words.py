"""How commands put things: times, states and why a task is where it is."""

from __future__ import annotations

import time

from aats_core.report.markup import clean, duration, plural
from aats_core.task import PlanRecord, TaskRecord, TaskState

__all__ = ["clean", "clock_time", "duration", "local_time", "plural", "progress", "took", "why"]


def local_time(unix: float | None) -> str:
    """Return a Unix time as date and time of day where the reader is; nothing for None."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix)) if unix is not None else ""


def clock_time(unix: float) -> str:
    """Return a Unix time as time of day where the reader is."""
    return time.strftime("%H:%M:%S", time.localtime(unix))


def progress(plan: PlanRecord) -> str:
    """Return how many of a plan's tasks have ended, of how many: `3/14`."""
    ended = sum(count for state, count in plan.counts.items() if TaskState(state).ended)
    return f"{ended}/{sum(plan.counts.values())}"


def took(started: float | None, ended: float | None, *, now: float) -> str:
    """Return how long something took, or has taken until now; nothing where it has not begun."""
    return duration((now if ended is None else ended) - started) if started is not None else ""


def why(record: TaskRecord) -> str:
    """Return in one line why a task is in its state, or how far it is."""
    if record.state is TaskState.RUNNING:
        return record.progress
    return record.error or (record.history[-1].reason if record.history else "")
