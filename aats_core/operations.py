"""The typed operations on a running team: the only way in, for the command line, the socket and every later door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from aats_core.broker import DeadLetter, TopicStatus
from aats_core.health import Health
from aats_core.hooks import Hooks
from aats_core.hookspecs import hookimpl
from aats_core.policy import Policy, current_subject
from aats_core.task import PROJECT_MANAGER, TASK_SCHEDULER, Plan, PlanRecord, PlanState, TaskRecord, TaskState, Wait
from aats_core.topics import TeamTopics

T = TypeVar("T")

Ask = Callable[[str, str, Any], Awaitable[Any]]
"""Sends a request: receiver, message type, payload."""


class TaskEvent(msgspec.Struct, frozen=True, gc=False):
    """A task changed its state, or (with `progress`) reported how far it is. `ended` tells that its plan ended too."""

    plan: str
    name: str
    kind: str
    state: TaskState
    time: float
    attempt: int = 0
    reason: str = ""
    worker: str = ""
    progress: str = ""
    plan_state: PlanState = PlanState.ACTIVE


class PlanDetail(msgspec.Struct, frozen=True):
    """A plan with all its tasks, in the order of its file."""

    plan: PlanRecord
    tasks: list[TaskRecord]


class TaskDetail(msgspec.Struct, frozen=True):
    """A task, and in `waits` why it does not run yet (empty once it does)."""

    record: TaskRecord
    waits: str = ""


class AgentStatus(msgspec.Struct, frozen=True):
    """An agent of this process: `status` is running, restarting, failed or stopped; `running` holds task ids."""

    name: str
    plugin: str
    status: str
    replicas: int
    handled: int = 0
    waiting: int = 0
    restarts: int = 0
    kinds: list[str] = msgspec.field(default_factory=list)
    running: list[str] = msgspec.field(default_factory=list)
    detail: str = ""


class TeamStatus(msgspec.Struct, frozen=True):
    """A running team as a whole; `parts` holds the health of broker, stores and integrations by section."""

    name: str
    version: str
    pid: int
    started: float
    draining: bool
    parts: dict[str, Health]
    agents: list[AgentStatus]


class PlanQuery(msgspec.Struct, frozen=True):
    """Which plans: of that state or any, newest first."""

    state: PlanState | None = None
    limit: int = 100


class TaskQuery(msgspec.Struct, frozen=True):
    """Which tasks: of that plan and state or any."""

    plan: str | None = None
    state: TaskState | None = None
    limit: int = 1000


class CancelRequest(msgspec.Struct, frozen=True):
    """Cancel a task, or a plan with all its tasks that have not ended."""

    id: str
    reason: str = ""


class RetryRequest(msgspec.Struct, frozen=True):
    """Run a failed, cancelled or unknown task again, or all such tasks of a plan."""

    id: str


class SettleRequest(msgspec.Struct, frozen=True):
    """Decide what became of a task in state unknown: done, with an output, or failed."""

    id: str
    done: bool
    output: Any = None
    reason: str = ""


class Submission(msgspec.Struct, frozen=True):
    """A plan to carry out. The same `key` twice is the same plan, answered with what the first made of it."""

    plan: Plan
    key: str = ""


class Operations:
    """What can be asked of a running team; every method asks the policy first, for the current subject.

    Errors are those of `aats_core.errors`: `AccessDenied`, `NotFound`, `Refused`, `InvalidRequest`.
    """

    def __init__(
        self,
        ask: Ask,
        policy: Policy,
        *,
        hooks: Hooks,
        status: Callable[[], Awaitable[TeamStatus]],
        drain: Callable[[], None],
        topics: TeamTopics,
        metrics: Callable[[], str],
    ) -> None:
        self._ask_agent = ask
        self._policy = policy
        self._hooks = hooks
        self._status = status
        self._drain = drain
        self._topics = topics
        self._metrics = metrics
        self._watchers: set[asyncio.Queue[TaskEvent]] = set()

    async def submit(self, plan: Plan, key: str = "") -> PlanRecord:
        """Store a plan and its tasks and begin to carry them out; returns once they are durable.

        Raises `Refused` with every problem of the plan, and then nothing is stored. A `key` makes it safe to
        submit again when no answer came: the plan that was made for it is returned.
        """
        submission = Submission(plan, key)
        return await self._ask("submit", plan.name, PROJECT_MANAGER, "plan.submit", submission, PlanRecord)

    async def plans(self, state: PlanState | None = None, limit: int = 100) -> list[PlanRecord]:
        """Return the plans, newest first."""
        query = PlanQuery(state, limit)
        return await self._ask("list", "plans", PROJECT_MANAGER, "plan.list", query, list[PlanRecord])

    async def plan(self, id: str) -> PlanDetail:
        """Return one plan with its tasks; a plan's name stands for the newest plan of that name."""
        return await self._ask("show", id, PROJECT_MANAGER, "plan.show", id, PlanDetail)

    async def tasks(
        self, plan: str | None = None, state: TaskState | None = None, limit: int = 1000
    ) -> list[TaskRecord]:
        """Return the tasks of the newest plans first, within a plan in the order of its file."""
        query = TaskQuery(plan, state, limit)
        return await self._ask("list", "tasks", PROJECT_MANAGER, "task.list", query, list[TaskRecord])

    async def task(self, id: str) -> TaskDetail:
        """Return one task and why it waits."""
        record = await self._ask("show", id, PROJECT_MANAGER, "task.show", id, TaskRecord)
        waits = ""
        if not record.state.ended and record.state is not TaskState.RUNNING:
            waits = await self._ask("show", id, TASK_SCHEDULER, "task.explain", record.id, str)
        return TaskDetail(record, waits)

    async def explain(self, ids: list[str]) -> list[Wait]:
        """Return why tasks do not run yet, in the order of their ids; ask for no more than a thousand at once."""
        return await self._ask("list", "tasks", TASK_SCHEDULER, "tasks.explain", ids, list[Wait])

    async def agents(self) -> list[AgentStatus]:
        """Return the agents of this process."""
        return (await self.status()).agents

    async def status(self) -> TeamStatus:
        """Return the team's condition."""
        self._policy.check("show", "team")
        return await self._status()

    async def metrics(self) -> str:
        """Return the figures of this process, in the text format of Prometheus."""
        self._policy.check("show", "team")
        return self._metrics()

    async def cancel(self, id: str, reason: str = "") -> list[str]:
        """Cancel a task or a whole plan; returns the ids of the tasks that were told to stop."""
        request = CancelRequest(id, reason or f"cancelled by {current_subject() or 'the operator'}")
        return await self._ask("cancel", id, PROJECT_MANAGER, "task.cancel", request, list[str])

    async def retry(self, id: str) -> list[str]:
        """Run failed, cancelled or unknown tasks again, and what was skipped for them; returns their ids."""
        return await self._ask("retry", id, PROJECT_MANAGER, "task.retry", RetryRequest(id), list[str])

    async def settle(self, id: str, done: bool, output: Any = None, reason: str = "") -> TaskRecord:  # noqa: FBT001
        """Decide what became of a task in state unknown."""
        request = SettleRequest(id, done, output, reason)
        return await self._ask("settle", id, PROJECT_MANAGER, "task.settle", request, TaskRecord)

    async def drain(self) -> None:
        """Let running tasks finish within the team's grace time, assign nothing new, then stop the team."""
        self._policy.check("drain", "team")
        self._drain()

    async def topics(self) -> list[TopicStatus]:
        """Return the topics of the team that have a group or dead letters, and what waits there for whom."""
        self._policy.check("list", "topics")
        return await self._topics.status()

    async def dead_letters(self, topic: str | None = None) -> list[DeadLetter]:
        """Return the messages that nobody could handle, of a topic or pattern or of all, oldest first."""
        self._policy.check("list", "dead-letters")
        return await self._topics.dead_letters(topic)

    async def edit_dead_letter(self, id: str, payload: Any) -> DeadLetter:
        """Give the message of a dead letter another payload; returns the letter that takes its place."""
        self._policy.check("edit", "dead-letters")
        return await self._topics.edit(id, payload)

    async def replay_dead_letters(self, ids: list[str]) -> int:
        """Publish dead letters again, with fresh attempts, and return how many there were."""
        self._policy.check("replay", "dead-letters")
        return await self._topics.replay(ids)

    async def purge_dead_letters(self, ids: list[str]) -> int:
        """Delete dead letters and return how many there were."""
        self._policy.check("purge", "dead-letters")
        return await self._topics.purge(ids)

    async def watch(self, plan: str | None = None) -> AsyncIterator[TaskEvent]:
        """Yield task events as they happen, of one plan (until it has ended) or of all.

        A watcher that does not keep up loses the oldest events, never holds the team back.
        """
        self._policy.check("list", "tasks")
        queue: asyncio.Queue[TaskEvent] = asyncio.Queue(10_000)
        if not self._watchers:
            self._hooks.register(self, "kernel.operations")
        self._watchers.add(queue)
        try:
            while True:
                event = await queue.get()
                if plan is None or event.plan == plan:
                    yield event
                    if plan is not None and event.plan_state is not PlanState.ACTIVE:
                        return
        finally:
            self._watchers.discard(queue)
            if not self._watchers:
                self._hooks.unregister(self)

    @hookimpl
    def task_changed(self, event: TaskEvent) -> None:
        """Pass an event on to every watcher."""
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def _ask(self, verb: str, resource: str, receiver: str, type: str, payload: object, returns: type[T]) -> T:
        self._policy.check(verb, resource)
        answer = await self._ask_agent(receiver, type, payload)
        if answer.__class__ is returns:
            return answer
        return msgspec.convert(answer, type=returns, from_attributes=True)
