"""What the tests of the project manager share: one on a real store and a virtual clock, which can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from aats_agent_project_manager import ProjectManager, ProjectManagerSettings
from aats_store_sqlite import SqliteStore

from aats_core.clock import VirtualClock, settle
from aats_core.errors import StoreUnavailable
from aats_core.hooks import Hooks
from aats_core.hookspecs import hookimpl
from aats_core.kinds import TaskKinds
from aats_core.operations import Submission, TaskEvent
from aats_core.settings import TeamInfo
from aats_core.store import Document, RecordStore, Write
from aats_core.task import (
    Assign,
    LeaseExpired,
    Outcome,
    Plan,
    PlanRecord,
    SchedulerDecisions,
    Task,
    TaskAssignment,
    TaskCancel,
    TaskEnded,
    TaskReady,
    TaskRecord,
    TaskResult,
)
from aats_core.testing.fakes import FakeAgentContext, give_context

T = TypeVar("T")


class Gate:
    """Stands before the writes of a real store: counts them (without their fence), holds them up or fails them."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._open = asyncio.Event()
        self._open.set()
        self.commits: list[Sequence[Write]] = []
        self.tried = 0
        self.error: Exception | None = None

    def shut(self) -> None:
        """Let no write through until `open`."""
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def forget(self) -> None:
        """Begin to count anew."""
        self.commits, self.tried = [], 0

    async def write(self, operations: Sequence[Write]) -> None:
        self.tried += 1
        await self._open.wait()
        if self.error is not None:
            raise self.error
        await self._records.write(operations)
        self.commits.append([each for each in operations if getattr(each, "collection", "") != "leases"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)


class Listener:
    """An observer of the team that keeps what it heard."""

    def __init__(self) -> None:
        self.events: list[TaskEvent] = []

    @hookimpl
    def task_changed(self, event: TaskEvent) -> None:
        self.events.append(event)


class Office:
    """A project manager with its store; the test plays the scheduler and the workers."""

    lease = 30.0

    def __init__(self, directory: Path, *, grace: float = 5.0, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.hooks = Hooks()
        self.listener = Listener()
        self.hooks.register(self.listener, "test")
        self._info = TeamInfo(state_dir=directory, grace=grace)
        self._settings = ProjectManagerSettings(**settings)
        self._kinds = TaskKinds()
        self._kinds.add(["k"])

    # Its life

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.context.end()
        await self.store.close()

    async def _open(self) -> None:
        self.store = SqliteStore(SqliteStore.Settings(), self._info, self.clock)
        await self.store.connect()
        self.records: RecordStore = self.store.capabilities[0]
        self.gate = Gate(self.records)
        self.manager = self._make()
        await self.manager.start()
        self.gate.forget()

    def _make(self) -> ProjectManager:
        manager = ProjectManager(self.gate, self._kinds, self.clock, self._info, self.hooks)
        self.context: FakeAgentContext = give_context(manager, self._settings)
        return manager

    async def restart(self) -> None:
        """Kill it, without a chance to write anything more, and start another one from the file that it leaves."""
        await self.context.end()
        await self.store.close()
        await self._open()
        await settle()

    async def rest(self) -> None:
        """Wait until all it has to write is written, and all it has to say is said."""
        await self.manager._journal.flush()
        await settle()

    # What people do

    async def submit(self, *tasks: Task, key: str = "", **options: Any) -> str:
        """Submit a plan and return its id."""
        answer: PlanRecord = await self.ask(
            self.manager.submit(Submission(Plan(options.pop("name", "p"), tasks, **options), key))
        )
        await self.rest()
        return answer.id

    async def ask(self, answer: Awaitable[Any]) -> Any:
        """Return what a handler answers, now or later."""
        found = await answer
        async with asyncio.timeout(20):
            return await found if isinstance(found, asyncio.Future) else found

    # What the scheduler and the workers do

    async def assign(self, plan: str, *names: str, worker: str = "w", attempt: int | None = None) -> None:
        """Assign the next attempt of tasks."""
        tasks = (await self.manager.show_plan(plan)).tasks
        attempts = {task.task.name: task.attempt + 1 for task in tasks}
        assigned = [Assign(plan, name, attempt or attempts.get(name, 1), worker, self.lease) for name in names]
        await self.manager.decided(SchedulerDecisions(tuple(assigned)))
        await self.rest()

    async def lose(self, plan: str, name: str, attempt: int = 1) -> None:
        """Give up a lease."""
        await self.manager.decided(SchedulerDecisions(expired=(LeaseExpired(plan, name, attempt, "w"),)))
        await self.rest()

    async def end(
        self, plan: str, name: str, outcome: Outcome = Outcome.DONE, *, attempt: int | None = None, **more: Any
    ) -> None:
        """Send an attempt's result."""
        await self.manager.result(await self.result(plan, name, outcome, attempt=attempt, **more))
        await self.rest()

    async def result(
        self, plan: str, name: str, outcome: Outcome = Outcome.DONE, *, attempt: int | None = None, **more: Any
    ) -> TaskResult:
        present = (await self.task(plan, name)).attempt
        more.setdefault("error", "" if outcome is Outcome.DONE else "no luck")
        more.setdefault("seconds", 1.5)
        return TaskResult(plan, name, present if attempt is None else attempt, "w", outcome, **more)

    async def run(self, plan: str, *names: str, outcome: Outcome = Outcome.DONE, **more: Any) -> None:
        """Assign tasks and send their results, one after the other."""
        for name in names:
            await self.assign(plan, name)
            await self.end(plan, name, outcome, **more)

    # What can be seen

    async def task(self, plan: str, name: str) -> TaskRecord:
        return await self.manager.show_task(f"{plan}/{name}")

    async def states(self, plan: str) -> dict[str, str]:
        return {task.task.name: task.state.value for task in (await self.manager.show_plan(plan)).tasks}

    async def state(self, plan: str) -> str:
        """Return the plan's state as it lies in the store."""
        (found,) = await self.records.find("plans", {"_id": plan})
        return str(found["state"])

    async def stored(self, plan: str, name: str) -> Document:
        """Return a task's document."""
        (found,) = await self.records.find("tasks", {"_id": f"{plan}/{name}"})
        return found

    def told(self, *types: type[T]) -> list[T]:
        """Return what the scheduler was told, in order, of those types."""
        news = [sent.payload for sent in self.context.sent if sent.receiver == "task-scheduler"]
        return [word for each in news for word in each.words if isinstance(word, types)]

    def ready(self) -> list[tuple[str, int]]:
        """Return which attempts the scheduler was told are ready."""
        return [(word.name, word.attempt) for word in self.told(TaskReady)]

    def ended(self) -> list[tuple[str, int, bool]]:
        """Return which attempts the scheduler was told are over, and whether for good."""
        return [(word.name, word.attempt, word.final) for word in self.told(TaskEnded)]

    def orders(self, type: type[T]) -> list[T]:
        """Return what workers were told, in order."""
        return [sent.payload for sent in self.context.sent if isinstance(sent.payload, type)]

    def assignments(self) -> list[tuple[str, int]]:
        return [(order.name, order.attempt) for order in self.orders(TaskAssignment)]

    def stops(self) -> list[tuple[str, int, str]]:
        return [(order.name, order.attempt, order.reason) for order in self.orders(TaskCancel)]

    def forget(self) -> None:
        """Forget what was said so far."""
        self.context.sent.clear()
        self.listener.events.clear()

    # What goes wrong

    def cut_off(self) -> None:
        """Have every write fail as where the store is away."""
        self.gate.error = StoreUnavailable("the store is away")


Scenario = Callable[[Office], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Runs a scenario with a project manager that has just started."""

    def run(scenario: Scenario, **settings: Any) -> None:
        async def life() -> None:
            async with asyncio.timeout(60), Office(tmp_path, **settings) as office:
                await scenario(office)

        asyncio.run(life())

    return run


@pytest.fixture
def make_gate() -> type[Gate]:
    return Gate
