"""The outbox: what the project manager has to tell the scheduler and the workers, gathered into few messages."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aats_agent_project_manager.plan_run import PlanRun
from aats_core.agent import Agent
from aats_core.errors import AatsError
from aats_core.policy import acting_for
from aats_core.task import (
    TASK_SCHEDULER,
    PlanAdded,
    PlanRemoved,
    SchedulerNews,
    TaskAssignment,
    TaskCancel,
    TaskEnded,
    TaskReady,
    TaskRunning,
)

log = logging.getLogger("aats.project-manager")

Word = TaskReady | TaskRunning | TaskEnded | PlanAdded | PlanRemoved


class Outbox:
    """Sends in the order in which things were added; all that the scheduler is to hear by then travels together."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._words: list[Word] = []
        self._orders: list[tuple[str, str, TaskAssignment | TaskCancel]] = []
        self._added = asyncio.Event()
        self._sent = asyncio.Event()

    def tell(self, word: Word) -> None:
        """Have the scheduler told."""
        self._words.append(word)
        self._hurry()

    def order(self, worker: str, order: TaskAssignment | TaskCancel, subject: str) -> None:
        """Have a worker told, at the wish of that subject."""
        self._orders.append((worker, subject, order))
        self._hurry()

    def plan_added(self, run: PlanRun) -> None:
        """Have the scheduler told of a whole plan."""
        ended = tuple(name for name, task in run.tasks.items() if task.state.ended)
        plan = run.record
        self.tell(PlanAdded(plan.id, plan.priority, plan.deadline, tuple(run.specs.values()), ended))

    async def flush(self) -> None:
        """Wait until everything added so far is sent."""
        self._hurry()
        await self._sent.wait()

    def _hurry(self) -> None:
        self._sent.clear()
        self._added.set()

    async def run(self) -> None:
        """Send for as long as the project manager lives."""
        while True:
            await self._added.wait()
            self._added.clear()
            words, self._words = self._words, []
            orders, self._orders = self._orders, []
            for worker, subject, order in orders:
                with acting_for(subject):
                    await self._send(
                        worker, "task.assignment" if isinstance(order, TaskAssignment) else "task.stop", order
                    )
            if words:
                await self._send(TASK_SCHEDULER, "scheduler.news", SchedulerNews(tuple(words)))
            if not self._added.is_set():
                self._sent.set()

    async def _send(self, receiver: str, type: str, payload: Any) -> None:
        try:
            await self._agent.send(receiver, type, payload)
        except AatsError as error:
            log.warning("%s was not told %s: %s; leases see to what it missed", receiver, type, error)
