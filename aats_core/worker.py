"""The worker in every agent that runs tasks: takes assignments, runs them on free replicas, and answers for them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from aats_core.agent import TaskContext
from aats_core.effects import TaskEffects
from aats_core.errors import AatsError, EffectUnknown, InvalidPayload, TaskFailed
from aats_core.handlers import Handler
from aats_core.message import Message
from aats_core.policy import SUBJECT
from aats_core.task import (
    PROJECT_MANAGER,
    TASK_SCHEDULER,
    Outcome,
    TaskAssignment,
    TaskCancel,
    TaskProgress,
    TaskResult,
    WorkerGone,
    WorkerStatus,
)

if TYPE_CHECKING:
    from aats_core.clock import Clock
    from aats_core.host import AgentHost
    from aats_core.replica import Replica

log = logging.getLogger("aats.worker")

HEARTBEATS_PER_LEASE = 3


class Run(TaskContext):
    """One attempt of a task while it runs here."""

    def __init__(self, worker: Worker, assignment: TaskAssignment, subject: str) -> None:
        self.worker = worker
        self.assignment = assignment
        self.subject = subject
        self.id = assignment.id
        self.plan = assignment.plan
        self.name = assignment.name
        self.kind = assignment.kind
        self.attempt = assignment.attempt
        self.deadline = assignment.deadline
        self.inputs = assignment.inputs
        self.stop_as: Outcome | None = None
        self.stop_reason = ""
        self.running: asyncio.Task[None] | None = None

    @property
    def clock(self) -> Clock:  # type: ignore[override] # read-only here, and no handler replaces it
        """The team's clock."""
        return self.worker.host.runtime.clock

    @property
    def effects(self) -> TaskEffects:  # type: ignore[override] # made when first asked for
        """What the task does to the world."""
        made = self.__dict__.get("_effects")
        if made is None:
            made = self.__dict__["_effects"] = TaskEffects(self.worker.host.runtime.records, self.id, self.attempt)
        return made

    @property
    def writes(self) -> tuple[Any, ...]:
        """What the task adds to its result's transaction."""
        made = self.__dict__.get("_effects")
        return made.writes if made is not None else ()

    async def report(self, text: str) -> None:
        """Tell the project manager how far the task is."""
        progress = TaskProgress(self.plan, self.name, self.attempt, text)
        await self.worker.tell(PROJECT_MANAGER, "task.progress", progress)

    async def heartbeat(self) -> None:
        """Renew the lease now."""
        await self.worker.announce()
        await asyncio.sleep(0)

    def stop(self, outcome: Outcome, reason: str) -> None:
        """Have the attempt end as cancelled or returned."""
        self.stop_as, self.stop_reason = outcome, reason
        if self.running is not None:
            self.running.cancel()


class Worker:
    """Runs up to as many tasks at once as its agent has replicas; more assignments wait here for a free one."""

    def __init__(self, host: AgentHost, tasks: dict[str, Handler[Any]]) -> None:
        self.host = host
        self.tasks = tasks
        self.address = host.runtime.address(host.name)
        self.draining = False
        self._runs: dict[str, Run] = {}
        self._waiting: deque[Run] = deque()
        self._busy: set[Replica] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> list[str]:
        """The ids of the tasks that run here."""
        return list(self._runs)

    def start(self) -> None:
        """Announce the worker and begin its heartbeat."""
        self.host.own(self._beat())

    async def stop(self) -> None:
        """End what still runs, handing it back, and take leave."""
        self.hand_back("the worker stopped")
        await self._idle.wait()
        await self.tell(TASK_SCHEDULER, "worker.gone", WorkerGone(self.address))

    async def drain(self, grace: float) -> None:
        """Take nothing new, and wait up to `grace` seconds for what runs; then hand the rest back."""
        self.draining = True
        await self.announce()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            self.hand_back("the worker drains")
            await self._idle.wait()

    def hand_back(self, reason: str) -> None:
        """Stop everything that runs here, to be run again elsewhere or later; it does not count as failed."""
        for run in list(self._runs.values()):
            run.stop(Outcome.RETURNED, reason)

    def status(self) -> WorkerStatus:
        """Return what the scheduler needs to know."""
        settings = self.host.settings
        return WorkerStatus(
            self.address,
            tuple(self.tasks),
            settings.replicas,
            settings.resources,
            tuple((run.id, run.attempt) for run in self._runs.values()),
            self.draining,
        )

    async def announce(self) -> None:
        """Send the scheduler the worker's status."""
        await self.tell(TASK_SCHEDULER, "worker.status", self.status())

    async def tell(self, receiver: str, type: str, payload: object) -> None:
        """Send a message, containing the failure to: leases see to what was not said."""
        try:
            await self.host.runtime.send(receiver, type, payload, sender=self.address)
        except AatsError as error:
            log.warning("%s could not tell %s %s: %s", self.host.name, receiver, type, error)

    def take(self, message: Message) -> bool:
        """Deal with a message that concerns tasks and return True, or return False."""
        if message.type == "task.assignment":
            subject = message.headers.get("subject", "") if message.headers else ""
            self._accept(Run(self, _as(message, TaskAssignment), subject))
            return True
        if message.type == "task.stop":
            cancel = _as(message, TaskCancel)
            run = self._runs.get(f"{cancel.plan}/{cancel.name}")
            if run is not None and run.attempt == cancel.attempt:
                run.stop(Outcome.CANCELLED, cancel.reason)
            return True
        return False

    def _accept(self, run: Run) -> None:
        known = self._runs.get(run.id)
        if known is not None:
            if known.attempt >= run.attempt:
                return
            known.stop(Outcome.CANCELLED, f"attempt {run.attempt} has begun")
        self._runs[run.id] = run
        self._idle.clear()
        if len(self._busy) < len(self.host.replicas):
            self._begin(run)
        else:
            self._waiting.append(run)

    def _begin(self, run: Run) -> None:
        replica = next(r for r in self.host.replicas if r not in self._busy)
        self._busy.add(replica)
        run.running = self.host.runtime.loop.create_task(self._run(run, replica), name=run.id)

    async def _run(self, run: Run, replica: Replica) -> None:
        SUBJECT.set(run.subject)
        clock = run.clock
        began = clock.monotonic()
        try:
            outcome, output, error = await self._attempt(run, replica)
        finally:
            self._busy.discard(replica)
            if self._runs.get(run.id) is run:
                del self._runs[run.id]
        writes = run.writes if outcome is Outcome.DONE else ()
        result = TaskResult(
            run.plan,
            run.name,
            run.attempt,
            self.address,
            outcome,
            clock.monotonic() - began,
            output,
            error,
            writes,
        )
        await self.tell(PROJECT_MANAGER, "task.result", result)
        self._next()

    def _next(self) -> None:
        if self._waiting and len(self._busy) < len(self.host.replicas):
            self._begin(self._waiting.popleft())
        elif not self._runs:
            self._idle.set()

    async def _attempt(self, run: Run, replica: Replica) -> tuple[Outcome, Any, str]:
        """Run the handler and return what came of it; nothing that a handler does gets past this."""
        assignment = run.assignment
        if run.stop_as is not None:
            return run.stop_as, None, run.stop_reason
        handler = self.tasks.get(assignment.kind)
        if handler is None:
            return Outcome.REFUSED, None, f"{self.host.name} does not run tasks of kind {assignment.kind!r}"
        message = Message(assignment.kind, assignment.payload)
        timeout = asyncio.timeout(assignment.timeout)
        try:
            async with timeout:
                output = handler.check_result(await handler.call(replica.agent, message, run))
            return Outcome.DONE, _plain(output), ""
        except TaskFailed as error:
            return Outcome.FAILED if error.retry else Outcome.REFUSED, _plain(error.output), str(error)
        except EffectUnknown as error:
            return Outcome.UNKNOWN, None, str(error)
        except InvalidPayload as error:
            return Outcome.REFUSED, None, str(error)
        except asyncio.CancelledError:
            return run.stop_as or Outcome.CANCELLED, None, run.stop_reason or "cancelled from within"
        except Exception as error:
            if timeout.expired():
                return Outcome.FAILED, None, f"no end after its timeout of {assignment.timeout:g} s"
            log.info("%s failed", run.id, exc_info=error)
            return Outcome.FAILED, None, f"{error.__class__.__name__}: {error}"
        except SystemExit as error:
            self.host.crashed(replica, error)
            return Outcome.FAILED, None, f"the handler called sys.exit({error.code!r})"

    async def _beat(self) -> None:
        while True:
            await self.announce()
            await self.host.runtime.clock.sleep(self.host.runtime.info.lease / HEARTBEATS_PER_LEASE)


def _as(message: Message, kind: type[Any]) -> Any:
    return message.payload if message.payload.__class__ is kind else message.read(kind)


def _plain(output: object) -> object:
    """Return an output as JSON can carry it; raises `InvalidPayload` where it cannot."""
    if output is None or output.__class__ in (str, int, bool):
        return output
    try:
        dump = getattr(output, "model_dump", None)
        return dump(mode="json") if dump is not None else msgspec.to_builtins(output, str_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(f"the output cannot be stored: {error}") from error
