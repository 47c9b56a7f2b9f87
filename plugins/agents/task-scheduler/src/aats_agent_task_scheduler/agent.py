"""The agent around the scheduler's core: it hears what happens and passes on what was decided."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aats_agent_task_scheduler.core import Core
from aats_agent_task_scheduler.durations import Durations
from aats_agent_task_scheduler.estimates import Estimates
from aats_agent_task_scheduler.settings import SchedulerSettings
from aats_agent_task_scheduler.simulation import simulate
from aats_core.agent import Agent
from aats_core.clock import Clock
from aats_core.handlers import on
from aats_core.scheduling import Estimates as Knowledge
from aats_core.scheduling import Simulation
from aats_core.settings import TeamInfo
from aats_core.store import RecordStore
from aats_core.task import (
    PROJECT_MANAGER,
    Assign,
    LeaseExpired,
    Plan,
    PlanAdded,
    PlanRemoved,
    SchedulerDecisions,
    SchedulerNews,
    TaskEnded,
    TaskReady,
    TaskRunning,
    Wait,
    WorkerGone,
    WorkerStatus,
)

SAVE_EVERY = 1.0
"""Seconds between two writes of learned run times."""

LATE = 0.1
"""Seconds by which a timer may be late before it is taken to say that this process, not a worker, was held up."""

CATCH_UP = 1.0
"""Seconds that heartbeats are given to be read after this process was held up."""

log = logging.getLogger("aats.task-scheduler")


class TaskScheduler(Agent):
    """Decides which worker runs which task when, and sends its decisions to the project manager.

    It keeps nothing but learned run times: when it starts it asks the project manager to repeat all plans, and
    workers make themselves known with every heartbeat.
    """

    Settings = SchedulerSettings

    def __init__(self, settings: SchedulerSettings, info: TeamInfo, clock: Clock, primary: RecordStore) -> None:
        estimates = Estimates()
        self._estimates = estimates
        self._core = Core(settings, lease=info.lease, estimates=estimates)
        self._durations = Durations(primary, estimates, clock)
        self._clock = clock
        self._offset = clock.time() - clock.monotonic()
        self._assigned: list[Assign] = []
        self._expired: list[LeaseExpired] = []
        self._decided = asyncio.Event()
        self._sooner = asyncio.Event()
        self._learned = asyncio.Event()
        self._wakeup: float | None = None

    async def start(self) -> None:
        """Load what was learned, and ask the project manager for everything else."""
        await self._durations.load()
        self.spawn(self._pass_on())
        self.spawn(self._keep_time())
        self.spawn(self._keep_learned())
        await self.send(PROJECT_MANAGER, "scheduler.started")

    async def stop(self) -> None:
        """Write what was learned last."""
        await self._durations.save()

    @on("scheduler.news")
    async def news(self, news: SchedulerNews) -> None:
        """Take in what happened to plans and tasks, all of it before anything is decided."""
        now = self._now()
        for word in news.words:
            self._hear(word, now)
        self._settle()

    @on("worker.status")
    async def worker_status(self, status: WorkerStatus) -> None:
        """Hear a worker's heartbeat."""
        self._core.worker_status(status, self._now())
        self._settle()

    @on("worker.gone")
    async def worker_gone(self, worker: WorkerGone) -> None:
        """Let a worker go."""
        self._core.worker_gone(worker.worker, self._now())
        self._settle()

    @on("task.explain")
    async def explain(self, id: str) -> str:
        """Say why a task does not run yet."""
        return self._core.explain(id, self._now())

    @on("tasks.explain")
    async def explain_many(self, ids: list[str]) -> list[Wait]:
        """Say why tasks do not run yet, in the order of their ids."""
        return self._core.explain_many(ids, self._now())

    @on("scheduler.drain")
    async def drain(self) -> None:
        """Assign nothing any more."""
        self._core.draining = True

    @classmethod
    def simulate(
        cls,
        plan: Plan,
        *,
        workers: int,
        estimates: Knowledge = "learned",
        durations: Mapping[str, float] | None = None,
        start: float = 0.0,
    ) -> Simulation:
        """Run a plan on a virtual clock, as `aats_core.scheduling.Simulator` says."""
        return simulate(plan, workers=workers, estimates=estimates, durations=durations or {}, start=start)

    def _hear(self, word: PlanAdded | PlanRemoved | TaskReady | TaskRunning | TaskEnded, now: float) -> None:
        match word:
            case TaskReady():
                self._core.ready(word, now)
            case TaskEnded():
                self._core.ended(word)
            case PlanAdded():
                self._core.add_plan(word)
            case PlanRemoved():
                self._core.remove_plan(word.plan)
            case TaskRunning():
                self._core.running(word, now)

    def _now(self) -> float:
        """Return Unix time that goes on evenly, however the machine's clock is set meanwhile."""
        return self._offset + self._clock.monotonic()

    def _settle(self) -> None:
        """Work out what follows from what was heard, and wake whoever has to do with it."""
        self._assigned += self._core.decide(self._now())
        if self._assigned or self._expired:
            self._decided.set()
        if self._estimates.dirty:
            self._learned.set()
        wakeup = self._core.wakeup()
        if wakeup is not None and (self._wakeup is None or wakeup < self._wakeup):
            self._sooner.set()

    async def _pass_on(self) -> None:
        # Not in the handlers: they would wait while the project manager's mailbox is full, and it for them.
        while True:
            await self._decided.wait()
            self._decided.clear()
            decisions = SchedulerDecisions(tuple(self._assigned), tuple(self._expired))
            self._assigned, self._expired = [], []
            await self.send(PROJECT_MANAGER, "tasks.decided", decisions)

    async def _keep_time(self) -> None:
        while True:
            self._sooner.clear()
            self._wakeup = self._core.wakeup()
            if not await self._reached(self._wakeup):
                continue
            if self._wakeup is not None and self._now() - self._wakeup > LATE:
                await self._clock.sleep(CATCH_UP)
            # Only here: in a handler, what workers sent meanwhile may still be waiting behind the message.
            self._expired += self._core.expire(self._now())
            self._settle()

    async def _reached(self, time: float | None) -> bool:
        """Wait until that time, or until something is due sooner; tell which."""
        if time is None:
            await self._sooner.wait()
            return False
        sooner = asyncio.ensure_future(self._sooner.wait())
        sleep = asyncio.ensure_future(self._clock.sleep(time - self._now()))
        try:
            await asyncio.wait((sooner, sleep), return_when=asyncio.FIRST_COMPLETED)
            return sleep.done()
        finally:
            sooner.cancel()
            sleep.cancel()

    async def _keep_learned(self) -> None:
        while True:
            await self._learned.wait()
            self._learned.clear()
            await self._clock.sleep(SAVE_EVERY)
            await self._durations.save()
            if self._estimates.dirty:
                self._learned.set()
