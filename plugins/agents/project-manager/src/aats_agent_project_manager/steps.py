"""The steps of a task: pure functions from a task's record, and what happened to it, to its next record."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from aats_agent_project_manager.plan_run import PlanRun
from aats_core.task import (
    Assign,
    Outcome,
    Retries,
    TaskAssignment,
    TaskRecord,
    TaskResult,
    TaskState,
    Transition,
)


def step(record: TaskRecord, state: TaskState, now: float, reason: str, **changes: Any) -> TaskRecord:
    """Return a task's record in a new state, the change noted in its history; the old record stays as it is."""
    if state.ended:
        changes.setdefault("ended", now)
    fresh = msgspec.structs.replace(record, state=state, history=list(record.history), **changes)
    fresh.history.append(Transition(state, now, reason, fresh.attempt, fresh.worker))
    return fresh


def assigned(record: TaskRecord, decision: Assign, now: float) -> TaskRecord:
    """Return the record of an attempt that a worker is given."""
    return step(
        record,
        TaskState.RUNNING,
        now,
        f"assigned to {decision.worker}",
        attempt=decision.attempt,
        worker=decision.worker,
        started=now,
        ended=None,
        seconds=None,
        error="",
        progress="",
        not_before=None,
    )


def finished(record: TaskRecord, result: TaskResult, now: float) -> TaskRecord:
    """Return the record after an attempt ended: done, failed for good, or waiting for its next attempt."""
    outcome, error = result.outcome, result.error
    common: dict[str, Any] = {"seconds": result.seconds, "output": result.output, "error": error}
    if outcome is Outcome.DONE:
        return step(record, TaskState.DONE, now, "done", **common)
    if outcome is Outcome.UNKNOWN:
        return step(record, TaskState.UNKNOWN, now, error, **common)
    if record.cancel or outcome is Outcome.CANCELLED:
        return step(record, TaskState.CANCELLED, now, error or record.cancel or "cancelled", **common)
    if outcome is Outcome.RETURNED:
        return step(record, TaskState.WAITING, now, f"handed back: {error}", not_before=None)
    failures, retries = record.failures + 1, record.task.retries
    if outcome is Outcome.REFUSED or failures > retries.limit:
        return step(record, TaskState.FAILED, now, error, failures=failures, **common)
    again = now + pause(retries, failures)
    reason = f"attempt {record.attempt} failed: {error}"
    return step(record, TaskState.WAITING, now, reason, failures=failures, not_before=again, **common)


def lost(record: TaskRecord, reason: str, now: float) -> TaskRecord:
    """Return the record after an attempt was lost with its worker."""
    count = record.lost + 1
    if record.cancel:
        return step(record, TaskState.CANCELLED, now, record.cancel, lost=count, error=record.cancel)
    if count > record.task.retries.lost:
        error = f"lost its worker {count} times, last because {reason}"
        return step(record, TaskState.FAILED, now, error, lost=count, error=error)
    return step(record, TaskState.WAITING, now, f"attempt {record.attempt} was lost: {reason}", lost=count)


def pause(retries: Retries, failures: int) -> float:
    """Return the seconds before the next attempt after that many failures, jitter included."""
    growth = retries.factor ** min(failures - 1, 64)  # beyond that it would leave the range of a float
    exact = min(retries.backoff * growth, retries.max_backoff)
    return exact * (1 + retries.jitter * random.uniform(-1, 1))  # noqa: S311 - spreads load, guards nothing


def awaits(record: TaskRecord, attempt: int) -> bool:
    """Tell whether a task waits for a worker to take just that attempt."""
    return record.state in (TaskState.READY, TaskState.WAITING) and attempt == record.attempt + 1


def scope(run: PlanRun, record: TaskRecord) -> dict[str, Any]:
    """Return what the templates in a task's payload may speak of."""
    needs = {
        name: {"output": task.output, "state": task.state.value, "error": task.error}
        for name, task in ((need, run.tasks[need]) for need in run.ancestors(record.task.name))
    }
    plan = {"id": run.record.id, "name": run.record.name}
    return {"tasks": needs, "inputs": run.record.inputs, "plan": plan}


def assignment(run: PlanRun, record: TaskRecord, payload: Any, lease: float) -> TaskAssignment:
    """Return what a worker is told."""
    task = record.task
    deadline = task.deadline if task.deadline is not None else run.record.deadline
    return TaskAssignment(
        record.plan,
        task.name,
        task.kind,
        payload,
        record.attempt,
        lease,
        task.timeout,
        deadline,
        task.resources,
        run.record.inputs,
    )
