"""The attempts at a task and the phases of its life, read from its stored transitions."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from aats_core.task import TaskRecord, TaskState, Transition


class Attempt(msgspec.Struct, frozen=True):
    """One attempt at a task: from `started` to `ended` (Unix seconds), and in `reason` why it ended as it did.

    `state` is running, done, failed, cancelled or unknown, or waiting where a worker that drained handed it back.
    """

    number: int
    worker: str
    started: float
    ended: float
    state: TaskState
    reason: str = ""

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return self.ended - self.started


class Phase(msgspec.Struct, frozen=True):
    """A stretch of time that a task spent in one state (Unix seconds)."""

    state: TaskState
    started: float
    ended: float


def phases(record: TaskRecord, end: float) -> tuple[Phase, ...]:
    """Return how long the task was in each state that it left again, or is in now."""
    history = record.history
    until = [*(step.time for step in history[1:]), end]
    return tuple(
        Phase(step.state, step.time, max(step.time, left))
        for step, left in zip(history, until, strict=False)
        if not step.state.ended
    )


def spent(phases: tuple[Phase, ...], state: TaskState) -> float:
    """Return the seconds that the task was in that state."""
    return sum(phase.ended - phase.started for phase in phases if phase.state is state)


def attempts(record: TaskRecord, end: float) -> tuple[Attempt, ...]:
    """Return the attempts; one begins with each transition to running and ends with the transition after it."""
    steps: list[Transition | None] = [*record.history, None]
    return tuple(
        _attempt(step, following, end, worker=step.worker or record.worker)
        for step, following in pairwise(steps)
        if step is not None and step.state is TaskState.RUNNING
    )


def _attempt(step: Transition, following: Transition | None, end: float, *, worker: str) -> Attempt:
    if following is None:
        return Attempt(step.attempt, worker, step.time, max(step.time, end), TaskState.RUNNING, step.reason)
    ended = max(step.time, following.time)
    return Attempt(step.attempt, worker, step.time, ended, _outcome(following), following.reason)


def _outcome(following: Transition) -> TaskState:
    if following.state.ended or following.reason.startswith("handed back"):
        return following.state
    return TaskState.FAILED
