"""Plans and tasks: what users submit, what is stored, and what the agents that carry them out say to each other."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from aats_core.store import Write

PROJECT_MANAGER = "project-manager"
"""The name of the agent that keeps plans; the only one that writes task state."""

TASK_SCHEDULER = "task-scheduler"
"""The name of the agent that decides which worker runs which task when."""


class TaskState(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"  # for its needs, or for the time of its next attempt
    READY = "ready"  # for a worker
    RUNNING = "running"  # assigned to a worker under a lease
    DONE = "done"
    FAILED = "failed"  # after its last attempt
    SKIPPED = "skipped"  # its needs ended in a way that its `when` does not ask for
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # a crash left an effect open, which a person has to settle

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the task by itself."""
        return self in _ENDED


_ENDED = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED, TaskState.UNKNOWN})


class When(StrEnum):
    """Which outcome of its needs a task waits for, once all of them have ended."""

    DONE = "done"  # all done
    FAILED = "failed"  # at least one failed (or was cancelled, skipped for a failure, or left unknown)
    ENDED = "ended"  # whatever came of them


class Retries(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often a failed attempt is repeated, and after how many seconds.

    `lost` is how often besides that an attempt may end because its worker died, so that a task that kills its
    worker comes to an end too.

    The n-th repetition waits `min(backoff * factor ** (n - 1), max_backoff)` seconds, made up to `jitter` (a
    fraction) longer or shorter at random.
    """

    limit: int = 0
    backoff: float = 1.0
    factor: float = 2.0
    max_backoff: float = 3600.0
    jitter: float = 0.1
    lost: int = 10


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """One piece of work of a plan, as it was submitted; times are seconds, `deadline` is a Unix time."""

    name: str
    kind: str
    payload: Any = msgspec.field(default_factory=dict)
    needs: tuple[str, ...] = ()
    when: When = When.DONE
    priority: int | None = None
    deadline: float | None = None
    retries: Retries = Retries()
    timeout: float | None = None
    resources: dict[str, float] = msgspec.field(default_factory=dict)
    estimate: float | None = None
    description: str = ""


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tasks with dependencies, submitted as one; `inputs` are there for the payloads' templates."""

    name: str
    tasks: tuple[Task, ...]
    priority: int = 5
    deadline: float | None = None
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    description: str = ""


class Transition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One change of a task's state: to what, when (Unix seconds), why, in which attempt, and with running to whom."""

    state: TaskState
    time: float
    reason: str = ""
    attempt: int = 0
    worker: str = ""


class TaskRecord(msgspec.Struct, omit_defaults=True):
    """A task as it is stored and shown. `id` is `<plan id>/<task name>`; `attempt` is also its fencing token.

    `failures` counts the attempts that count against `Retries.limit`; `not_before` is the Unix time of the next
    attempt. `started` and `seconds` belong to the latest attempt. `cancel` is why a task that still runs is to stop.
    """

    id: str
    plan: str
    task: Task
    state: TaskState = TaskState.WAITING
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    worker: str = ""
    not_before: float | None = None
    started: float | None = None
    ended: float | None = None
    seconds: float | None = None
    output: Any = None
    error: str = ""
    cancel: str = ""
    progress: str = ""
    history: list[Transition] = msgspec.field(default_factory=list)


class PlanState(StrEnum):
    """Where a plan stands: active, or how it ended."""

    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"  # some task failed or is unknown
    CANCELLED = "cancelled"


class PlanRecord(msgspec.Struct, omit_defaults=True):
    """A plan as it is stored and shown, without its tasks; `counts` says how many of them are in which state."""

    id: str
    name: str
    state: PlanState = PlanState.ACTIVE
    priority: int = 5
    deadline: float | None = None
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    subject: str = ""
    submitted: float = 0.0
    ended: float | None = None
    description: str = ""
    key: str = ""
    counts: dict[str, int] = msgspec.field(default_factory=dict)


# What the project manager tells the task scheduler.


class PlanAdded(msgspec.Struct, frozen=True, tag=True):
    """A plan has been stored: its whole graph, so that the scheduler can rank its tasks."""

    plan: str
    priority: int
    deadline: float | None
    tasks: tuple[Task, ...]
    ended: tuple[str, ...] = ()


class PlanRemoved(msgspec.Struct, frozen=True, tag=True):
    """A plan has ended; the scheduler can forget it."""

    plan: str


class TaskReady(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A task may run as that attempt, from `not_before` (Unix seconds) on."""

    plan: str
    name: str
    attempt: int
    not_before: float | None = None


class TaskRunning(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A task was running already when the scheduler (re)started; its lease is taken over."""

    plan: str
    name: str
    attempt: int
    worker: str


class TaskEnded(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A task's attempt is over and its worker free; `seconds` is how long it ran, if it ran to its end.

    `final` tells whether the task is over too, or only the attempt.
    """

    plan: str
    name: str
    attempt: int
    worker: str
    seconds: float | None
    final: bool


class SchedulerNews(msgspec.Struct, frozen=True):
    """What has happened since the last news, in that order."""

    words: tuple[PlanAdded | PlanRemoved | TaskReady | TaskRunning | TaskEnded, ...]


# What the task scheduler tells the project manager.


class Assign(msgspec.Struct, frozen=True, gc=False):
    """A decision: this attempt of that task goes to that worker, under a lease of so many seconds."""

    plan: str
    name: str
    attempt: int
    worker: str
    lease: float


class LeaseExpired(msgspec.Struct, frozen=True, gc=False):
    """A worker has not been heard of for the length of the lease; the attempt counts as failed."""

    plan: str
    name: str
    attempt: int
    worker: str


class SchedulerDecisions(msgspec.Struct, frozen=True):
    """What the scheduler decided at once."""

    assigned: tuple[Assign, ...] = ()
    expired: tuple[LeaseExpired, ...] = ()


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Why a task does not run yet; `stuck` where no worker there is can ever take it as it is."""

    reason: str
    stuck: bool = False


# What the project manager and workers tell each other.


class TaskAssignment(msgspec.Struct, frozen=True, gc=False):
    """Run this attempt of a task; `payload` has its templates filled in. An older attempt's result is refused."""

    plan: str
    name: str
    kind: str
    payload: Any
    attempt: int
    lease: float
    timeout: float | None = None
    deadline: float | None = None
    resources: dict[str, float] = msgspec.field(default_factory=dict)
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The task's id."""
        return f"{self.plan}/{self.name}"


class TaskCancel(msgspec.Struct, frozen=True, gc=False):
    """Stop that attempt; the answer is a `TaskResult` all the same."""

    plan: str
    name: str
    attempt: int
    reason: str = ""


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"  # may be retried
    REFUSED = "refused"  # failed in a way that a retry cannot mend, such as a payload that does not fit
    CANCELLED = "cancelled"
    RETURNED = "returned"  # handed back unfinished by a worker that drains; does not count as a failure
    UNKNOWN = "unknown"  # an effect is open


class TaskResult(msgspec.Struct, frozen=True, gc=False):
    """What came of an attempt. `writes` are effects in the task's own store, committed with the result."""

    plan: str
    name: str
    attempt: int
    worker: str
    outcome: Outcome
    seconds: float
    output: Any = None
    error: str = ""
    writes: tuple[Write, ...] = ()


class TaskProgress(msgspec.Struct, frozen=True, gc=False):
    """A running task tells how far it is, in words for people."""

    plan: str
    name: str
    attempt: int
    text: str


# What workers and the task scheduler tell each other.


class WorkerStatus(msgspec.Struct, frozen=True):
    """Who a worker is, what it can take and what it holds; sent when it starts and again as its heartbeat.

    `kinds` are the task kinds it runs, `slots` how many at once, `resources` how much of what they may take
    together; `running` are pairs of task id and attempt. While it is `draining` it takes nothing new.
    """

    worker: str
    kinds: tuple[str, ...]
    slots: int
    resources: dict[str, float] = msgspec.field(default_factory=dict)
    running: tuple[tuple[str, int], ...] = ()
    draining: bool = False


class WorkerGone(msgspec.Struct, frozen=True):
    """A worker has stopped in good order and holds nothing any more."""

    worker: str
