"""What the tests of the task scheduler share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aats_agent_task_scheduler.core import Core
from aats_agent_task_scheduler.estimates import Estimates
from aats_agent_task_scheduler.settings import SchedulerSettings

from aats_core.errors import StoreUnavailable
from aats_core.store import Document, Filter, Put, Schema, Write
from aats_core.task import PlanAdded, Task, TaskEnded, TaskReady, TaskRunning, Wait, WorkerStatus


class KeptRecords:
    """What the scheduler asks of a store, in memory; set `down` to have calls fail, `hangs` to have them not return."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[Any, Document]] = {}
        self.schemas: dict[str, Schema] = {}
        self.commits = 0
        self.down = False
        self.hangs = False

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailable("the store is away")

    async def write(self, operations: Sequence[Write]) -> None:
        await self._answer()
        self.commits += 1
        for operation in operations:
            assert isinstance(operation, Put)
            self.collections.setdefault(operation.collection, {})[operation.document["_id"]] = operation.document

    async def find(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, int] | None = None,
        limit: int | None = None,
        skip: int = 0,
    ) -> list[Document]:
        await self._answer()
        assert not filter
        assert not projection
        found = list(self.collections.get(collection, {}).values())
        for field, direction in (sort or {}).items():
            found.sort(key=lambda document: document[field], reverse=direction < 0)
        return found[skip:][:limit]

    async def ensure(self, collection: str, schema: Schema) -> None:
        await self._answer()
        self.schemas[collection] = schema


@pytest.fixture
def records() -> KeptRecords:
    return KeptRecords()


class Office:
    """Plays the project manager and the workers of a core, on a clock that stands still until it is moved."""

    def __init__(self, *, lease: float = 30.0, estimates: Estimates | None = None, **settings: float) -> None:
        self.core = Core(SchedulerSettings(**settings), lease=lease, estimates=estimates)
        self.now = 0.0

    def plan(
        self, task_id: str, *tasks: Task, priority: int = 5, deadline: float | None = None, ended: Sequence[str] = ()
    ) -> None:
        """Add a plan, and call ready what needs nothing."""
        self.core.add_plan(PlanAdded(task_id, priority, deadline, tasks, tuple(ended)))
        self.ready(task_id, *(task.name for task in tasks if not task.needs and task.name not in ended))

    def ready(self, plan: str, *names: str, attempt: int = 1, not_before: float | None = None) -> None:
        for name in names:
            self.core.ready(TaskReady(plan, name, attempt, not_before), self.now)

    def running(self, plan: str, name: str, worker: str, attempt: int = 1) -> None:
        self.core.running(TaskRunning(plan, name, attempt, worker), self.now)

    def end(
        self, task_id: str, worker: str = "w", *, attempt: int = 1, seconds: float | None = None, final: bool = True
    ) -> None:
        plan, _, name = task_id.partition("/")
        self.core.ended(TaskEnded(plan, name, attempt, worker, seconds, final))

    def worker(
        self,
        name: str = "w",
        *,
        kinds: Sequence[str] = ("k",),
        slots: int = 1,
        resources: Mapping[str, float] | None = None,
        running: Sequence[tuple[str, int]] = (),
        draining: bool = False,
    ) -> None:
        """Send a heartbeat."""
        status = WorkerStatus(name, tuple(kinds), slots, dict(resources or {}), tuple(running), draining)
        self.core.worker_status(status, self.now)

    def decide(self) -> list[tuple[str, str]]:
        """Return which tasks now go to which workers."""
        return [(f"{each.plan}/{each.name}", each.worker) for each in self.core.decide(self.now)]

    def order(self, worker: str = "w") -> list[str]:
        """Return the ids of all ready tasks in the order in which they get a worker, each ending before the next."""
        found = []
        while decided := self.decide():
            for task_id, by in decided:
                assert by == worker
                found.append(task_id)
                self.end(task_id, by)
        return found

    def expired(self) -> list[tuple[str, int, str]]:
        """Return which leases run out now."""
        return [(f"{each.plan}/{each.name}", each.attempt, each.worker) for each in self.core.expire(self.now)]

    def explain_many(self, *task_ids: str) -> list[Wait]:
        return self.core.explain_many(task_ids, self.now)

    def explain(self, task_id: str) -> str:
        return self.core.explain(task_id, self.now)


@pytest.fixture(scope="session")
def office() -> type[Office]:
    return Office
