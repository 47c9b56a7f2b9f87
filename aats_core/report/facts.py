"""What a report says of a plan, calculated from its stored history."""

from __future__ import annotations

import msgspec

from aats_core.operations import PlanDetail
from aats_core.report.history import Attempt, Phase, attempts, phases, spent
from aats_core.report.path import critical_path, in_order
from aats_core.task import PlanRecord, TaskRecord, TaskState

_NAMED = 5
_BAD = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN})


class TaskReport(msgspec.Struct, frozen=True):
    """What became of one task; times are seconds.

    `seconds` is how long all its attempts ran, `waited` how long it was ready and no worker took it, `held` how
    long it waited for its needs or its next attempt. Where it did not run, `reason` says why, and `causes` names the
    tasks upstream that are to blame.
    """

    record: TaskRecord
    attempts: tuple[Attempt, ...]
    phases: tuple[Phase, ...]
    seconds: float
    waited: float
    held: float
    critical: bool
    reason: str = ""
    causes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The task's name within its plan."""
        return self.record.task.name

    @property
    def state(self) -> TaskState:
        """Where the task stands."""
        return self.record.state


class Report(msgspec.Struct, frozen=True):
    """What became of a plan; times are seconds, `started` and `ended` Unix times (`ended` is now while it is active).

    `work` is the sum of all attempts; `critical_path` names the chain of tasks that ran longest, `critical_seconds`
    is how long they ran, so no number of workers makes the plan quicker than that.
    """

    plan: PlanRecord
    started: float
    ended: float
    work: float
    critical_path: tuple[str, ...]
    critical_seconds: float
    workers: tuple[str, ...]
    tasks: tuple[TaskReport, ...]

    @property
    def elapsed(self) -> float:
        """Seconds from the plan's submission to its end."""
        return self.ended - self.started

    @property
    def failures(self) -> tuple[TaskReport, ...]:
        """The tasks that failed or were left unknown."""
        return tuple(task for task in self.tasks if task.state in (TaskState.FAILED, TaskState.UNKNOWN))

    @property
    def not_run(self) -> tuple[TaskReport, ...]:
        """The tasks that no worker ever began."""
        return tuple(task for task in self.tasks if not task.attempts and task.state is not TaskState.FAILED)


def summarise(detail: PlanDetail, *, now: float) -> Report:
    """Return the report on a plan; `now` (Unix seconds) stands for the end of what has not ended."""
    end = _end(detail, now)
    start = min([detail.plan.submitted or end, *(t.history[0].time for t in detail.tasks if t.history)])
    records = {record.task.name: record for record in detail.tasks}
    needs = {name: [need for need in r.task.needs if need in records] for name, r in records.items()}
    tried = {name: attempts(record, end) for name, record in records.items()}
    lengths = {name: sum(attempt.seconds for attempt in a) for name, a in tried.items()}
    order = in_order(needs)
    path, length = critical_path(order, needs, lengths)
    critical = set(path)
    causes = _causes(order, needs, records)
    tasks = tuple(
        _task(
            record,
            tried[name],
            end,
            critical=name in critical,
            reason="" if tried[name] else _why_idle(record, records),
            causes=() if tried[name] else causes[name],
        )
        for name, record in records.items()
    )
    return Report(
        plan=detail.plan,
        started=start,
        ended=max(start, end),
        work=sum(task.seconds for task in tasks),
        critical_path=tuple(path),
        critical_seconds=length,
        workers=tuple(sorted({a.worker for task in tasks for a in task.attempts})),
        tasks=tasks,
    )


def _end(detail: PlanDetail, now: float) -> float:
    if detail.plan.ended is None:
        return now
    return max([detail.plan.ended, *(t.history[-1].time for t in detail.tasks if t.history)])


def _task(
    record: TaskRecord,
    tried: tuple[Attempt, ...],
    end: float,
    *,
    critical: bool,
    reason: str,
    causes: tuple[str, ...],
) -> TaskReport:
    passed = phases(record, end)
    return TaskReport(
        record=record,
        attempts=tried,
        phases=passed,
        seconds=sum(attempt.seconds for attempt in tried),
        waited=spent(passed, TaskState.READY),
        held=spent(passed, TaskState.WAITING),
        critical=critical,
        reason=reason,
        causes=causes,
    )


def _why_idle(record: TaskRecord, records: dict[str, TaskRecord]) -> str:
    """Return why no attempt was made at a task."""
    if record.state is TaskState.READY:
        return "waits for a worker"
    if record.state is TaskState.WAITING:
        missing = [need for need in record.task.needs if need in records and not records[need].state.ended]
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        return f"waits for {', '.join(missing[:_NAMED])}{more}" if missing else "waits for its time"
    return (record.history[-1].reason if record.history else "") or record.error


def _causes(
    order: list[str], needs: dict[str, list[str]], records: dict[str, TaskRecord]
) -> dict[str, tuple[str, ...]]:
    """Return for each task the first few tasks before it that ended badly by themselves, not for want of a need."""
    causes: dict[str, tuple[str, ...]] = dict.fromkeys(records, ())
    for name in order:
        found: list[str] = []
        for need in needs[name]:
            found.extend([need] if records[need].state in _BAD else causes[need])
        causes[name] = tuple(dict.fromkeys(found))[:_NAMED]
    return causes
