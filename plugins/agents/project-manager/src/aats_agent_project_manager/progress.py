"""Progress: carries tasks from state to state; each step is stored first, and then has its consequences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from aats_agent_project_manager import steps
from aats_agent_project_manager.documents import PLANS, plan_document, task_put
from aats_agent_project_manager.journal import Entry, Journal
from aats_agent_project_manager.outbox import Outbox
from aats_agent_project_manager.plan_run import Freed, PlanRun
from aats_core import hookspecs
from aats_core.clock import Clock
from aats_core.errors import InvalidRequest, StoreError
from aats_core.hooks import Hooks
from aats_core.operations import SettleRequest, TaskEvent
from aats_core.plans.template import has_templates, render
from aats_core.store import Put, Write
from aats_core.task import (
    Assign,
    Outcome,
    PlanRecord,
    PlanRemoved,
    PlanState,
    TaskCancel,
    TaskEnded,
    TaskProgress,
    TaskReady,
    TaskRecord,
    TaskResult,
    TaskRunning,
    TaskState,
)


class Progress:
    """Takes the tasks of all active plans forward. While one step of a task is being stored, the next waits for it."""

    def __init__(self, journal: Journal, outbox: Outbox, clock: Clock, hooks: Hooks) -> None:
        self.runs: dict[str, PlanRun] = {}
        self.draining = False
        self._journal = journal
        self._outbox = outbox
        self._clock = clock
        self._hooks = hooks
        self._storing: dict[str, list[Callable[[], None]]] = {}

    # Plans

    def adopt(self, run: PlanRun) -> None:
        """Go on with a plan that is stored: tell the scheduler all there is to know of it."""
        self.runs[run.record.id] = run
        freed = run.begin(self._clock.time())
        self.resend(run)
        self.release(run, Freed(skipped=freed.skipped))

    def resend(self, run: PlanRun) -> None:
        """Tell the scheduler of a plan, what of it is ready and what runs; it may have heard that before."""
        self._outbox.plan_added(run)
        for name in run.tasks:
            self._retell(run, name)

    def _retell(self, run: PlanRun, name: str) -> None:
        """Tell the scheduler of a task that may run or runs, once the step that it is taking is stored."""
        task = run.tasks[name]
        if self._deferred(task, lambda: self._retell(run, name)):
            return
        if task.state is TaskState.READY or run.waits_for_an_attempt(task):
            self._outbox.tell(_ready(task))
        elif task.state is TaskState.RUNNING:
            self._outbox.tell(TaskRunning(task.plan, name, task.attempt, task.worker))
            if task.cancel:
                self._stop(task, task.cancel)

    def release(self, run: PlanRun, freed: Freed, *, last: TaskRecord | None = None) -> None:
        """Tell the scheduler what may run, store what never will, and close the plan if that was all.

        Where it closes without a task of its own to tell of, observers hear of the `last` one again.
        """
        for task in freed.ready:
            self._outbox.tell(_ready(task))
        self.announce(run, freed.ready)
        for task in freed.skipped:
            self._outbox.tell(_ended(task, task.attempt, "", None))
        writes: list[Write] = [task_put(task) for task in freed.skipped]
        closed = None
        if run.remaining == 0 and run.record.state is PlanState.ACTIVE:
            closed = run.closed(self._clock.time())
            writes.append(_plan_put(run, closed))
        told = freed.skipped or ([last] if last is not None else [])
        if writes:
            self._add(writes, lambda: self._close(run, closed, told))

    def announce(self, run: PlanRun, tasks: Iterable[TaskRecord]) -> None:
        """Tell the observers of tasks' present states."""
        for task in tasks:
            self._observe(run, task)

    def durable(self, answer: object) -> asyncio.Future[object]:
        """Return a future that has that answer once every step decided so far is durable."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._add([], lambda: None if future.done() else future.set_result(answer))
        return future

    # Steps of a task

    def assign(self, decision: Assign) -> None:
        """Give an attempt to a worker, unless the task no longer waits for just that attempt, or the team drains."""
        if self.draining:
            return
        run, task = self._find(decision.plan, decision.name)
        if run is None or task is None or task.id in self._storing or not steps.awaits(task, decision.attempt):
            over = task is None or task.state.ended
            refused = TaskEnded(decision.plan, decision.name, decision.attempt, decision.worker, None, final=over)
            self._outbox.tell(refused)
            return
        now = self._clock.time()
        try:
            payload = task.task.payload
            if has_templates(payload):
                payload = render(payload, steps.scope(run, task))
        except InvalidRequest as error:
            self._outbox.tell(
                TaskEnded(decision.plan, decision.name, decision.attempt, decision.worker, None, final=True)
            )
            self._store(run, steps.step(task, TaskState.FAILED, now, str(error), error=str(error)))
            return
        fresh = steps.assigned(task, decision, now)
        order = steps.assignment(run, fresh, payload, decision.lease)
        self._store(run, fresh, then=lambda: self._outbox.order(decision.worker, order, run.record.subject))

    def finish(self, result: TaskResult) -> None:
        """Take in what came of an attempt, unless it is not the task's present one."""
        run, task = self._find(result.plan, result.name)
        if run is None or task is None or self._deferred(task, lambda: self.finish(result)):
            return
        if task.state is not TaskState.RUNNING or task.attempt != result.attempt:
            return
        fresh = steps.finished(task, result, self._clock.time())
        seconds = result.seconds if result.outcome in (Outcome.DONE, Outcome.FAILED) else None
        self._outbox.tell(_ended(fresh, result.attempt, result.worker, seconds))
        self._store(run, fresh, writes=result.writes)

    def lose(self, plan: str, name: str, attempt: int, reason: str) -> None:
        """Count an attempt as lost with its worker; the task runs again, unless that happened too often."""
        run, task = self._find(plan, name)
        if run is None or task is None or self._deferred(task, lambda: self.lose(plan, name, attempt, reason)):
            return
        if task.state is not TaskState.RUNNING or task.attempt != attempt:
            return
        fresh = steps.lost(task, reason, self._clock.time())
        self._stop(task, reason)
        self._outbox.tell(_ended(fresh, attempt, task.worker, None))
        self._store(run, fresh)

    def cancel(self, run: PlanRun, name: str, reason: str) -> None:
        """Cancel a task that has not ended; one that runs is stopped, and ends once its worker says so."""
        task = run.tasks[name]
        if task.state.ended or self._deferred(task, lambda: self.cancel(run, name, reason)):
            return
        if task.state is TaskState.RUNNING:
            wanted = msgspec.structs.replace(task, cancel=reason)
            self._store(run, wanted, then=lambda: self._stop(task, reason))
            return
        fresh = steps.step(task, TaskState.CANCELLED, self._clock.time(), reason, error=reason)
        self._outbox.tell(_ended(fresh, task.attempt, "", None))
        self._store(run, fresh)

    def retry(self, run: PlanRun, names: list[str]) -> list[str]:
        """Have ended tasks wait again, with what was skipped for them; returns the ids of all of them."""
        now = self._clock.time()
        self.runs[run.record.id] = run
        reopened = run.reopen(names, now)
        writes: list[Write] = [_plan_put(run, run.record), *(task_put(task) for task in reopened)]
        self._add(writes, lambda: self.announce(run, reopened))
        self._outbox.plan_added(run)
        self.release(run, run.begin(now))
        return [task.id for task in reopened]

    def settle(self, run: PlanRun, name: str, request: SettleRequest, reason: str) -> TaskRecord:
        """Put an unknown task into the state that a person says it is in."""
        now = self._clock.time()
        self.runs[run.record.id] = run
        state = TaskState.DONE if request.done else TaskState.FAILED
        error = "" if request.done else reason
        fresh = steps.step(run.tasks[name], state, now, reason, output=request.output, error=error)
        reopened = [task for task in run.reopen([name], now) if task.task.name != name]
        self._outbox.plan_added(run)
        writes = (_plan_put(run, run.record), *(task_put(task) for task in reopened))
        ended = _ended(fresh, fresh.attempt, fresh.worker, None)
        self._store(run, fresh, writes=writes, then=lambda: self._outbox.tell(ended))
        return fresh

    def note(self, progress: TaskProgress) -> None:
        """Note what a running task says of itself."""
        run, task = self._find(progress.plan, progress.name)
        if run is not None and task is not None and task.attempt == progress.attempt:
            task.progress = progress.text
            self._observe(run, task, progress=progress.text)

    # How a step is made

    def _find(self, plan: str, name: str) -> tuple[PlanRun | None, TaskRecord | None]:
        run = self.runs.get(plan)
        return run, run.tasks.get(name) if run is not None else None

    def _deferred(self, task: TaskRecord, action: Callable[[], None]) -> bool:
        """Tell whether a step of the task is being stored right now; the action then follows it."""
        waiting = self._storing.get(task.id)
        if waiting is None:
            return False
        waiting.append(action)
        return True

    def _store(
        self,
        run: PlanRun,
        fresh: TaskRecord,
        *,
        writes: tuple[Write, ...] = (),
        then: Callable[[], None] | None = None,
    ) -> None:
        """Store a task's new record; once it is durable, take it in and see to what follows."""
        self._storing[fresh.id] = []
        closed = run.closed(self._clock.time(), fresh) if run.is_last(fresh) else None
        puts: list[Write] = [*writes, task_put(fresh)]
        if closed is not None:
            puts.append(_plan_put(run, closed))

        def committed() -> None:
            waiting = self._storing.pop(fresh.id)
            freed = run.replace(fresh, self._clock.time())
            if then is not None:
                then()
            if fresh.state is TaskState.WAITING:
                self._outbox.tell(_ready(fresh))
            self._close(run, closed, [fresh])
            self.release(run, freed, last=fresh)
            for action in waiting:
                action()

        def refused(error: StoreError) -> None:
            waiting = self._storing.pop(fresh.id)
            reason = f"the result could not be stored: {error}"
            failed = steps.step(run.tasks[fresh.task.name], TaskState.FAILED, self._clock.time(), reason, error=reason)
            self._store(run, failed)
            self._storing[fresh.id] += waiting

        self._journal.add(Entry(puts, committed, refused))

    def _close(self, run: PlanRun, closed: PlanRecord | None, tasks: list[TaskRecord]) -> None:
        """Tell the observers of tasks that have taken a step, and forget the plan where it closed with it.

        It stays where somebody had tasks of it run again while the close was being stored: that is stored after it.
        """
        if closed is not None and run.remaining == 0:
            run.record = closed
            self.runs.pop(closed.id, None)
            self._outbox.tell(PlanRemoved(closed.id))
        self.announce(run, tasks)

    def _stop(self, task: TaskRecord, reason: str) -> None:
        self._outbox.order(task.worker, TaskCancel(task.plan, task.task.name, task.attempt, reason), "")

    def _add(self, writes: list[Write], committed: Callable[[], None]) -> None:
        self._journal.add(Entry(writes, committed, _cannot_be_refused))

    def _observe(self, run: PlanRun, task: TaskRecord, *, progress: str = "") -> None:
        if not self._hooks.heard(hookspecs.task_changed):
            return
        last = task.history[-1] if task.history else None
        event = TaskEvent(
            task.plan,
            task.task.name,
            task.task.kind,
            task.state,
            self._clock.time() if progress or not last else last.time,
            task.attempt,
            last.reason if last else "",
            task.worker,
            progress,
            run.record.state,
        )
        self._hooks.notify(hookspecs.task_changed, event)


def _cannot_be_refused(error: StoreError) -> None:
    raise error


def _plan_put(run: PlanRun, record: PlanRecord) -> Put:
    return Put(PLANS, plan_document(record, tuple(run.specs.values())))


def _ready(task: TaskRecord) -> TaskReady:
    return TaskReady(task.plan, task.task.name, task.attempt + 1, task.not_before)


def _ended(task: TaskRecord, attempt: int, worker: str, seconds: float | None) -> TaskEnded:
    return TaskEnded(task.plan, task.task.name, attempt, worker, seconds, task.state.ended)
