"""The project manager: accepts plans, keeps the state of every task, and says what may run."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import msgspec

from aats_agent_project_manager.documents import (
    PLANS,
    find_plan,
    find_plans,
    find_submitted,
    load_plan,
    plan_document,
    prepare,
    read_record,
)
from aats_agent_project_manager.journal import Entry, Journal
from aats_agent_project_manager.leadership import Leadership
from aats_agent_project_manager.outbox import Outbox
from aats_agent_project_manager.plan_run import PlanRun
from aats_agent_project_manager.progress import Progress
from aats_agent_project_manager.settings import ProjectManagerSettings
from aats_core.agent import Agent
from aats_core.clock import Clock
from aats_core.errors import AatsError, InvalidRequest, NotFound, Refused, StoreError, UnknownReceiver
from aats_core.handlers import on
from aats_core.hooks import Hooks
from aats_core.kinds import TaskKinds
from aats_core.operations import (
    CancelRequest,
    PlanDetail,
    PlanQuery,
    RetryRequest,
    SettleRequest,
    Submission,
    TaskQuery,
)
from aats_core.plans.check import check_plan
from aats_core.policy import current_subject
from aats_core.settings import TeamInfo
from aats_core.store import Put, RecordStore
from aats_core.task import (
    Plan,
    PlanRecord,
    PlanState,
    SchedulerDecisions,
    TaskProgress,
    TaskRecord,
    TaskResult,
    TaskState,
)

log = logging.getLogger("aats.project-manager")


class ProjectManager(Agent):
    """Accepts plans, stores them with their tasks, and carries every task from state to state until its plan ends.

    It alone writes task state. Every change is durable before anybody hears of it; a restart goes on from the store.
    """

    Settings = ProjectManagerSettings

    def __init__(self, primary: RecordStore, kinds: TaskKinds, clock: Clock, info: TeamInfo, hooks: Hooks) -> None:
        self._records = primary
        self._kinds = kinds
        self._clock = clock
        self._info = info
        self._hooks = hooks
        self._leadership = Leadership(primary, info, clock)
        self._journal = Journal(primary, clock, self._leadership)
        self._last_id = 0
        self._keys: dict[str, asyncio.Future[PlanRecord]] = {}

    async def start(self) -> None:
        """Lead, or stand by while another process does."""
        self._outbox = Outbox(self)
        self._progress = Progress(self._journal, self._outbox, self._clock, self._hooks)
        await prepare(self._records)
        self.spawn(self._outbox.run())
        if await self._leadership.seize():
            await self._lead()
        else:
            self.spawn(self._stand_by())

    async def _stand_by(self) -> None:
        await self._leadership.wait(self.settings.retry_delay)
        log.warning("the project manager that led the team is gone: this one leads now")
        await self._lead()

    async def _lead(self) -> None:
        """Load every active plan and go on with it."""
        self.spawn(self._leadership.keep())
        self.spawn(self._journal.run(self.settings.retry_delay))
        for document in await self._records.find(PLANS, {"state": PlanState.ACTIVE.value}, sort={"submitted": 1}):
            record, tasks = await load_plan(self._records, document)
            self._progress.adopt(_run(record, tasks))
        self._leadership.leads = True
        if self._progress.runs:
            log.info("going on with %d plans", len(self._progress.runs))

    async def stop(self) -> None:
        """Write what is still to be written."""
        try:
            async with asyncio.timeout(self._info.grace):
                await self._journal.flush()
        except TimeoutError:
            log.error("changes that the store did not take in time are lost; their tasks run again after a restart")
        await self._leadership.resign()

    # Plans

    @on("plan.submit")
    async def submit(self, submission: Submission) -> Any:
        """Check a plan, store it with all its tasks, and answer with its record once that is durable."""
        if not self._leadership.leads:
            return self._ask_leader("plan.submit", submission)
        plan, key = submission.plan, submission.key
        if key:
            known = await self._submitted(key)
            if known is not None:
                return known
        now = self._clock.time()
        problems = check_plan(plan, kinds=self._kinds, now=now)
        if problems:
            raise Refused(problems, plan.name)
        record = PlanRecord(
            self._new_id(plan.name, now),
            plan.name,
            priority=plan.priority,
            deadline=plan.deadline,
            inputs=plan.inputs,
            subject=current_subject(),
            submitted=now,
            description=plan.description,
            key=key,
        )
        answer: asyncio.Future[PlanRecord] = asyncio.get_running_loop().create_future()
        if key:
            self._keys[key] = answer
        self._store_plan(plan, record, answer)
        return answer

    def _new_id(self, name: str, now: float) -> str:
        """Return an id that no plan has: the name with the time of submission, in microseconds to the base of 32."""
        self._last_id = max(self._last_id + 1, int(now * 1e6))
        return f"{_slug(name)}-{_base32(self._last_id)}"

    def _store_plan(self, plan: Plan, record: PlanRecord, answer: asyncio.Future[PlanRecord]) -> None:
        run = PlanRun(record, plan.tasks)
        freed = run.begin(record.submitted)
        record.counts = run.counts()
        # The tasks' documents follow with their first steps: until then all there is to know of them lies in the plan.
        write = Put(PLANS, plan_document(record, plan.tasks))

        def committed() -> None:
            self._keys.pop(record.key, None)
            self._progress.runs[record.id] = run
            self._outbox.plan_added(run)
            self._progress.release(run, freed)
            if not answer.done():
                answer.set_result(record)

        def refused(error: StoreError) -> None:
            self._keys.pop(record.key, None)
            if not answer.done():
                answer.set_exception(error)

        self._journal.add(Entry((write,), committed, refused, patient=False))

    async def _submitted(self, key: str) -> Any:
        """Return the plan that was made for a key, or that it is just being stored; None where there is none."""
        if key in self._keys:
            return self._keys[key]
        active = next((run.record for run in self._progress.runs.values() if run.record.key == key), None)
        return active or await find_submitted(self._records, key)

    @on("plan.list")
    async def list_plans(self, query: PlanQuery) -> list[PlanRecord]:
        """Return plans, newest first."""
        found = []
        for document in await find_plans(self._records, query.state, query.limit):
            record = read_record(document)
            run = self._progress.runs.get(record.id)
            if run is not None:
                record.counts = run.counts()
            found.append(record)
        return found

    @on("plan.show")
    async def show_plan(self, id: str) -> PlanDetail:
        """Return a plan with its tasks."""
        record, tasks = await self._load(id)
        return PlanDetail(record, list(tasks.values()))

    @on("task.list")
    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """Return tasks."""
        if query.plan is not None:
            plans = [(await self._load(query.plan))[0].id]
        else:
            plans = [document["_id"] for document in await find_plans(self._records, None, query.limit)]
        found: list[TaskRecord] = []
        for plan in plans:
            _, tasks = await self._load(plan)
            found += [task for task in tasks.values() if query.state in (None, task.state)]
            if len(found) >= query.limit:
                break
        return found[: query.limit]

    @on("task.show")
    async def show_task(self, id: str) -> TaskRecord:
        """Return a task."""
        plan, _, name = id.partition("/")
        _, tasks = await self._load(plan)
        if name not in tasks:
            raise NotFound(f"there is no task {id!r}; a task's id is PLAN/NAME")
        return tasks[name]

    async def read_plan(self, id: str) -> PlanDetail:
        """Return a plan as it lies in the store; this needs no start, so it serves where the team does not run."""
        document = await find_plan(self._records, id)
        if document is None:
            raise NotFound(f"there is no plan {id!r}")
        record, tasks = await load_plan(self._records, document)
        return PlanDetail(record, list(tasks.values()))

    async def _load(self, id: str) -> tuple[PlanRecord, dict[str, TaskRecord]]:
        run = self._progress.runs.get(id)
        if run is None:
            document = await find_plan(self._records, id)
            if document is None:
                raise NotFound(f"there is no plan {id!r}")
            run = self._progress.runs.get(document["_id"])
            if run is None:
                return await load_plan(self._records, document)
        record = msgspec.structs.replace(run.record, counts=run.counts())
        return record, run.tasks

    def _ask_leader(self, type: str, payload: Any) -> asyncio.Future[Any]:
        """Return what the project manager that leads is going to answer."""
        return asyncio.ensure_future(self._answer_of_leader(type, payload))

    async def _answer_of_leader(self, type: str, payload: Any) -> Any:
        leader = await self._leadership.leader()
        if leader == self._info.node:
            raise InvalidRequest("this project manager is about to lead the team; try again in a moment")
        try:
            return await self.request(f"{self.name}@{leader}", type, payload)
        except UnknownReceiver as error:
            raise InvalidRequest(
                f"this process stands by: node {leader} leads the team, and the broker does not reach it; ask it there"
            ) from error

    # What people decide

    @on("task.cancel")
    async def cancel(self, request: CancelRequest) -> Any:
        """Cancel a task or all open tasks of a plan; answers with their ids."""
        if not self._leadership.leads:
            return self._ask_leader("task.cancel", request)
        run, names = await self._open_tasks(request.id)
        ids = [run.tasks[name].id for name in names]
        for name in names:
            self._progress.cancel(run, name, request.reason)
        return self._progress.durable(ids)

    @on("task.retry")
    async def retry(self, request: RetryRequest) -> Any:
        """Run a task that ended badly, or all such tasks of a plan, again; answers with their ids."""
        if not self._leadership.leads:
            return self._ask_leader("task.retry", request)
        plan, _, name = request.id.partition("/")
        run = await self._run(plan)
        bad = (TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN)
        names = [n for n, task in run.tasks.items() if task.state in bad and name in ("", n)]
        if not names:
            raise InvalidRequest(f"{request.id}: nothing there has failed, was cancelled or is unknown")
        return self._progress.durable(self._progress.retry(run, names))

    @on("task.settle")
    async def settle(self, request: SettleRequest) -> Any:
        """Take a person's word for what became of an unknown task; answers with its record."""
        if not self._leadership.leads:
            return self._ask_leader("task.settle", request)
        plan, _, name = request.id.partition("/")
        run = await self._run(plan)
        task = run.tasks.get(name)
        if task is None or task.state is not TaskState.UNKNOWN:
            raise InvalidRequest(f"{request.id} is not a task in state unknown")
        reason = request.reason or f"settled by {current_subject() or 'the operator'}"
        return self._progress.durable(self._progress.settle(run, name, request, reason))

    async def _open_tasks(self, id: str) -> tuple[PlanRun, list[str]]:
        plan, _, name = id.partition("/")
        record, tasks = await self._load(plan)
        run = self._progress.runs.get(record.id)
        if name and name not in tasks:
            raise NotFound(f"there is no task {id!r}; a task's id is PLAN/NAME")
        names = [n for n, task in tasks.items() if not task.state.ended and name in ("", n)]
        if run is None or not names:
            raise InvalidRequest(f"{id} has ended already")
        return run, names

    async def _run(self, plan: str) -> PlanRun:
        """Return a plan as it is carried out, or as it ended."""
        record, tasks = await self._load(plan)
        return self._progress.runs.get(record.id) or _run(record, tasks)

    # What the scheduler and the workers say

    @on("scheduler.started")
    async def scheduler_started(self) -> None:
        """Tell a scheduler that knows nothing yet all there is."""
        for run in self._progress.runs.values():
            self._progress.resend(run)

    @on("tasks.decided")
    async def decided(self, decisions: SchedulerDecisions) -> None:
        """Store what the scheduler assigned and then send each worker its task; count what it gave up as lost."""
        for lease in decisions.expired:
            self._progress.lose(lease.plan, lease.name, lease.attempt, f"{lease.worker} was not heard of any more")
        for decision in decisions.assigned:
            self._progress.assign(decision)

    @on("task.result")
    async def result(self, result: TaskResult) -> None:
        """Take in what came of an attempt, or where another leads by now, have that one do so."""
        if self._leadership.leads:
            self._progress.finish(result)
            return
        try:
            await self.send(f"{self.name}@{await self._leadership.leader()}", "task.result", result)
        except AatsError as error:
            log.warning("the result of %s/%s reaches no leader: %s", result.plan, result.name, error)

    @on("assignments.end")
    async def end_assignments(self) -> Any:
        """Assign nothing any more; answers once every order to a worker is on its way."""
        self._progress.draining = True
        return asyncio.ensure_future(self._orders_sent()) if self._leadership.leads else None

    async def _orders_sent(self) -> None:
        await self._progress.durable(None)
        await self._outbox.flush()

    @on("inbox.read")
    async def inbox_read(self) -> None:
        """Answer once all that was sent before has been taken in."""

    @on("task.progress")
    async def progress(self, progress: TaskProgress) -> None:
        """Note how far a task is."""
        self._progress.note(progress)


def _run(record: PlanRecord, tasks: dict[str, TaskRecord]) -> PlanRun:
    return PlanRun(record, [task.task for task in tasks.values()], tasks)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:40] or "plan"


def _base32(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 32)
        digits = "0123456789abcdefghjkmnpqrstvwxyz"[digit] + digits
    return digits
