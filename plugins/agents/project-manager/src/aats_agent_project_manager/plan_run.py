"""A plan that is being carried out: which task may run when, and what an ended task means for those that need it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from aats_core.task import PlanRecord, PlanState, Task, TaskRecord, TaskState, Transition, When


class Freed(msgspec.Struct):
    """What a step set free: tasks that may run now, and tasks that never will."""

    ready: list[TaskRecord] = msgspec.field(default_factory=list)
    skipped: list[TaskRecord] = msgspec.field(default_factory=list)


class PlanRun:
    """The state of one active plan in memory; nothing here is stored or sent."""

    def __init__(self, record: PlanRecord, tasks: Iterable[Task], records: dict[str, TaskRecord] | None = None) -> None:
        self.record = record
        self.specs = {task.name: task for task in tasks}
        self.tasks: dict[str, TaskRecord] = records or {
            name: TaskRecord(f"{record.id}/{name}", record.id, task) for name, task in self.specs.items()
        }
        self.remaining = 0
        self._dependents: dict[str, list[str]] = {name: [] for name in self.specs}
        self._open: dict[str, int] = {}
        for task in self.specs.values():
            for need in task.needs:
                self._dependents[need].append(task.name)
        self._count()

    def begin(self, now: float) -> Freed:
        """Put every waiting task whose needs have ended into its next state, and return what that sets free."""
        freed = Freed()
        self._evaluate(deque(n for n, r in self.tasks.items() if r.state is TaskState.WAITING), now, freed)
        return freed

    def replace(self, record: TaskRecord, now: float) -> Freed:
        """Take in a task's new record; returns what it sets free where the task has ended with it."""
        name, freed = record.task.name, Freed()
        was_open = not self.tasks[name].state.ended
        self.tasks[name] = record
        if was_open and record.state.ended:
            self._evaluate(self._end(name), now, freed)
        return freed

    def reopen(self, names: Iterable[str], now: float) -> list[TaskRecord]:
        """Have ended tasks wait again, with all that was skipped for them; returns their new records."""
        queue, reopened = deque(names), {}
        while queue:
            name = queue.popleft()
            record = self.tasks[name]
            if name in reopened or not record.state.ended:
                continue
            reopened[name] = self.tasks[name] = _again(record, now)
            queue.extend(d for d in self._dependents[name] if self.tasks[d].state is TaskState.SKIPPED)
        self._count()
        self.record = msgspec.structs.replace(self.record, state=PlanState.ACTIVE, ended=None)
        return list(reopened.values())

    def waits_for_an_attempt(self, record: TaskRecord) -> bool:
        """Tell whether a task waits although all that it needs has ended: for its next attempt."""
        return record.state is TaskState.WAITING and not self._open[record.task.name]

    def is_last(self, fresh: TaskRecord) -> bool:
        """Tell whether the plan is over once that record is taken in."""
        return self.remaining == 1 and fresh.state.ended and not self.tasks[fresh.task.name].state.ended

    def closed(self, now: float, last: TaskRecord | None = None) -> PlanRecord:
        """Return the record of the plan as it ends, with `last` as the record of the task that ended last."""
        records = {**self.tasks, last.task.name: last} if last is not None else self.tasks
        counts = _counts(records.values())
        if counts.keys() & {TaskState.FAILED, TaskState.UNKNOWN}:
            state = PlanState.FAILED
        else:
            state = PlanState.CANCELLED if TaskState.CANCELLED in counts else PlanState.DONE
        return msgspec.structs.replace(self.record, state=state, ended=now, counts=counts)

    def counts(self) -> dict[str, int]:
        """Return how many tasks are in which state."""
        return _counts(self.tasks.values())

    def ancestors(self, name: str) -> set[str]:
        """Return all that a task needs, directly or not."""
        found, queue = set(self.specs[name].needs), list(self.specs[name].needs)
        while queue:
            further = set(self.specs[queue.pop()].needs) - found
            found |= further
            queue.extend(further)
        return found

    def _count(self) -> None:
        tasks = self.tasks
        self.remaining = len(tasks)
        for name, task in self.specs.items():
            self._open[name] = len([need for need in task.needs if not tasks[need].state.ended]) if task.needs else 0
            self.remaining -= tasks[name].state.ended

    def _end(self, name: str) -> deque[str]:
        self.remaining -= 1
        for dependent in self._dependents[name]:
            self._open[dependent] -= 1
        return deque(self._dependents[name])

    def _evaluate(self, names: deque[str], now: float, freed: Freed) -> None:
        while names:
            name = names.popleft()
            record = self.tasks[name]
            verdict = self._verdict(name) if record.state is TaskState.WAITING else None
            if verdict is None:
                continue
            state, reason, error = verdict
            note = Transition(state, now, reason, record.attempt, "")
            fresh = msgspec.structs.replace(record, state=state, history=[*record.history, note])
            self.tasks[name] = fresh
            if state is TaskState.READY:
                freed.ready.append(fresh)
            else:
                fresh.error, fresh.ended = error, now
                freed.skipped.append(fresh)
                names.extend(self._end(name))

    def _verdict(self, name: str) -> tuple[TaskState, str, str] | None:
        """Return the state that a waiting task comes to now, with the reason and the error, or None."""
        task = self.specs[name]
        if not task.needs:
            return TaskState.READY, "it needs nothing", ""
        needs = [self.tasks[need] for need in task.needs]
        failed = next((need for need in needs if _went_wrong(need)), None)
        if task.when is When.DONE:
            if failed is not None:
                reason = f"needs {failed.task.name}, which is {failed.state}"
                return TaskState.SKIPPED, reason, reason
            passed_over = next((need for need in needs if need.state is TaskState.SKIPPED), None)
            if passed_over is not None:
                return TaskState.SKIPPED, f"needs {passed_over.task.name}, which was skipped", ""
        if self._open[name]:
            return None
        if task.when is When.FAILED and failed is None:
            return TaskState.SKIPPED, "nothing that it needs failed", ""
        return TaskState.READY, "all that it needs has ended", ""


def _went_wrong(record: TaskRecord) -> bool:
    """Tell whether a task ended in a way that `when: failed` waits for."""
    if record.state is TaskState.SKIPPED:
        return bool(record.error)
    return record.state in (TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN)


def _again(record: TaskRecord, now: float) -> TaskRecord:
    note = Transition(TaskState.WAITING, now, "to be run again", record.attempt, "")
    return msgspec.structs.replace(
        record,
        state=TaskState.WAITING,
        failures=0,
        lost=0,
        ended=None,
        seconds=None,
        output=None,
        error="",
        cancel="",
        not_before=None,
        history=[*record.history, note],
    )


def _counts(records: Iterable[TaskRecord]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in records:
        state = record.state.value
        counts[state] = counts.get(state, 0) + 1
    return counts
