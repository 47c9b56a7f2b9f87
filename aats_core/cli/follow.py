"""Plans followed to their end, be the team in this process or in another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable

import msgspec

from aats_core.cli.screen import Screen
from aats_core.cli.stuck import StuckTasks
from aats_core.operations import Operations, PlanDetail, TaskEvent
from aats_core.task import PlanRecord, PlanState, TaskState

RESYNC = 5.0
"""Seconds without an event after which it is asked whether the plans still run: a watcher may miss events."""


class Follower:
    """Shows what happens to plans, from their submission on, and tells when they have ended.

    `watch` runs beside the rest, from before the first plan is submitted; `follow` is called once. `lease` is the
    team's, in seconds, if it is known.
    """

    def __init__(self, team: Operations, screen: Screen, *, lease: float = 30.0) -> None:
        self._team = team
        self._screen = screen
        self._ended: set[str] = set()
        self._seen = asyncio.Event()
        self._given_up = False
        self._early: list[TaskEvent] | None = []
        self._plans: set[str] = set()
        self._states: dict[str, dict[str, TaskState]] = {}
        self._stuck = StuckTasks(team, screen, lease=lease)

    async def watch(self) -> None:
        """Take in events until cancelled."""
        async for event in self._team.watch():
            if self._early is not None:
                self._early.append(event)
            else:
                self._show(event)
            self._states.setdefault(event.plan, {})[event.name] = event.state
            if event.plan_state is not PlanState.ACTIVE:
                self._ended.add(event.plan)
            self._seen.set()

    async def follow(self, records: Collection[PlanRecord]) -> list[PlanDetail]:
        """Show plans, wait until each has ended or `give_up` is called, and return them with their tasks."""
        self._plans = {record.id for record in records}
        for detail in [await self._team.plan(record.id) for record in records]:
            self._screen.begin(detail)
            states = self._states.setdefault(detail.plan.id, {})
            self._states[detail.plan.id] = {task.task.name: task.state for task in detail.tasks} | states
        early, self._early = self._early or [], None
        for event in early:
            self._show(event)
        async with asyncio.TaskGroup() as beside:
            stuck = beside.create_task(self._stuck.watch(self._ready))
            await self.until_ended(record.id for record in records if record.state is PlanState.ACTIVE)
            stuck.cancel()
        return [await self._team.plan(record.id) for record in records]

    async def until_ended(self, plans: Iterable[str]) -> None:
        """Wait until each of these plans has ended, or `give_up` is called."""
        waiting = set(plans)
        while (waiting := waiting - self._ended) and not self._given_up:
            self._seen.clear()
            try:
                async with asyncio.timeout(RESYNC):
                    await self._seen.wait()
            except TimeoutError:
                await self._ask_for(waiting)

    def _show(self, event: TaskEvent) -> None:
        if event.plan in self._plans:
            self._screen.event(event)

    def _ready(self) -> list[str]:
        return [
            f"{plan}/{name}"
            for plan in self._plans - self._ended
            for name, state in self._states[plan].items()
            if state is TaskState.READY
        ]

    def give_up(self) -> None:
        """Wait for no plan any longer."""
        self._given_up = True
        self._seen.set()

    def latest(self, detail: PlanDetail) -> PlanDetail:
        """Return a plan with its counts brought up to what has been seen since."""
        states = {task.task.name: task.state for task in detail.tasks} | self._states.get(detail.plan.id, {})
        counts = {str(state): count for state, count in Counter(states.values()).items()}
        return PlanDetail(msgspec.structs.replace(detail.plan, counts=counts), detail.tasks)

    async def _ask_for(self, waiting: Collection[str]) -> None:
        active = {record.id for record in await self._team.plans(PlanState.ACTIVE, limit=1000)}
        for plan in set(waiting) - active:
            if (await self._team.plan(plan)).plan.state is not PlanState.ACTIVE:
                self._ended.add(plan)
