"""The worker in every agent that runs tasks: takes assignments, runs them on free replicas, and answers for them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from aats_core.attempt import Run, carry_out
from aats_core.errors import AatsError
from aats_core.handlers import Handler
from aats_core.message import Message
from aats_core.policy import SUBJECT
from aats_core.task import (
    PROJECT_MANAGER,
    TASK_SCHEDULER,
    Outcome,
    TaskAssignment,
    TaskCancel,
    TaskResult,
    WorkerGone,
    WorkerStatus,
)

if TYPE_CHECKING:
    from aats_core.host import AgentHost
    from aats_core.replica import Replica

log = logging.getLogger("aats.worker")

HEARTBEATS_PER_LEASE = 3

STOP_WITHIN = 10.0
"""Seconds that a handler has to end once it was told to stop, beside those that its agent asks for."""


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
        self._unanswered: set[Run] = set()
        self._deaf: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurried = False
        self._patience: asyncio.Timeout | None = None

    @property
    def running(self) -> list[str]:
        """The ids of the tasks that run here."""
        return list(self._runs)

    @property
    def _stop_within(self) -> float:
        return STOP_WITHIN + self.host.settings.ending

    def start(self) -> None:
        """Announce the worker and begin its heartbeat."""
        self.host.own(self._beat())

    async def stop(self) -> None:
        """Take nothing more, end what still runs, handing it back, and take leave."""
        self.draining = True
        self.hand_back("the worker stopped")
        await self._end()
        await self.tell(TASK_SCHEDULER, "worker.gone", WorkerGone(self.address))

    async def drain(self, grace: float) -> None:
        """Take nothing more, and wait up to `grace` seconds, or until `hurry`, for what runs; then hand it back."""
        self.draining = True
        await self.announce()
        try:
            async with asyncio.timeout(0.0 if self._hurried else grace) as self._patience:
                await self._idle.wait()
        except TimeoutError:
            self.hand_back("the worker drains")
            await self._end()
        finally:
            self._patience = None

    def hurry(self) -> None:
        """Have a drain wait no longer."""
        self._hurried = True
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self.host.runtime.loop.time())

    def hand_back(self, reason: str, replica: Replica | None = None) -> None:
        """Stop all that runs here, or on that replica, to be run again elsewhere or later; it is not a failure."""
        for run in list(self._runs.values()):
            if replica is None or run.replica is replica:
                self._stop(run, Outcome.RETURNED, reason)

    async def _end(self) -> None:
        """Wait until everything is answered for, but not for ever."""
        try:
            async with asyncio.timeout(self._stop_within + 1):
                await self._idle.wait()
        except TimeoutError:
            late = ", ".join(run.id for run in self._unanswered)
            log.error("%s: nobody took the answer for %s", self.host.name, late)

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
                self._stop(run, Outcome.CANCELLED, cancel.reason)
            return True
        return False

    def begin_waiting(self) -> None:
        """Begin what waits for a replica, as far as there are free ones."""
        while self._waiting:
            replica = next((r for r in self.host.replicas if r.started and r not in self._busy), None)
            if replica is None:
                return
            self._begin(self._waiting.popleft(), replica)

    def _accept(self, run: Run) -> None:
        known = self._runs.get(run.id)
        if known is not None:
            if known.attempt >= run.attempt:
                return
            self._stop(known, Outcome.CANCELLED, f"attempt {run.attempt} has begun")
        self._runs[run.id] = run
        self._unanswered.add(run)
        self._idle.clear()
        self._waiting.append(run)
        if self.draining:
            self._stop(run, Outcome.RETURNED, "the worker drains")
        else:
            self.begin_waiting()

    def _stop(self, run: Run, outcome: Outcome, reason: str) -> None:
        run.stop(outcome, reason)
        if run.running is not None:
            self.host.runtime.loop.call_later(self._stop_within, self._abandon, run)
        if run in self._waiting:
            self._waiting.remove(run)
            self._begin(run, None)

    def _begin(self, run: Run, replica: Replica | None) -> None:
        """Run an attempt on a replica, or without one only answer for it."""
        if replica is not None:
            run.replica = replica
            self._busy.add(replica)
        self.host.runtime.loop.create_task(self._run(run), name=run.id)

    async def _run(self, run: Run) -> None:
        SUBJECT.set(run.subject)
        run.running = asyncio.current_task()
        run.began = run.clock.monotonic()
        patience = None
        if run.assignment.timeout is not None:
            most = run.assignment.timeout + self._stop_within
            patience = self.host.runtime.loop.call_later(most, self._abandon, run)
        try:
            outcome, output, error = await carry_out(run, self.tasks.get(run.kind))
        finally:
            if patience is not None:
                patience.cancel()
            if run.running is not None:
                self._release(run)
        if run in self._unanswered:
            await self._answer(run, outcome, output, error)

    def _release(self, run: Run) -> None:
        run.running = None
        if run.replica is not None:
            self._busy.discard(run.replica)
        if self._runs.get(run.id) is run:
            del self._runs[run.id]
        self.begin_waiting()

    def _abandon(self, run: Run) -> None:
        """Answer for an attempt whose handler goes on although it was told to stop, and have its replica run others."""
        if run.running is None:
            return
        self._deaf.add(run.running)
        run.running.add_done_callback(self._deaf.discard)
        self._release(run)
        outcome = run.stop_as or Outcome.FAILED
        why = run.stop_reason or f"no end after its timeout of {run.assignment.timeout:g} s"
        error = f"{why}; its handler was told to stop {self._stop_within:g} s ago and goes on"
        log.error("%s, attempt %d: %s", run.id, run.attempt, error)
        self.host.own(self._answer(run, outcome, None, error))

    async def _answer(self, run: Run, outcome: Outcome, output: Any, error: str) -> None:
        result = TaskResult(
            run.plan,
            run.name,
            run.attempt,
            self.address,
            outcome,
            run.clock.monotonic() - run.began,
            output,
            error,
            run.writes if outcome is Outcome.DONE else (),
        )
        try:
            await self.tell(PROJECT_MANAGER, "task.result", result)
        finally:
            self._unanswered.discard(run)
            if not self._unanswered:
                self._idle.set()

    async def _beat(self) -> None:
        while True:
            await self.announce()
            await self.host.runtime.clock.sleep(self.host.runtime.info.lease / HEARTBEATS_PER_LEASE)


def _as(message: Message, kind: type[Any]) -> Any:
    return message.payload if message.payload.__class__ is kind else message.read(kind)
