"""Plans as the scheduler keeps them: a graph of small nodes, ranked by what still has to follow each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from aats_agent_task_scheduler.estimates import Estimates, label
from aats_core.task import PlanAdded, Task, When

if TYPE_CHECKING:
    from aats_agent_task_scheduler.leases import Lease
    from aats_agent_task_scheduler.ready import Flow

Resources: TypeAlias = tuple[tuple[str, float], ...]
"""What a task takes, by name and in the order of names; nothing that is zero."""

Shape: TypeAlias = tuple[str, str, Resources]
"""What tasks of a plan have in common: kind, label, resources."""

Entry: TypeAlias = tuple[float, float, int, "Node"]
"""A task in line within its plan: its latest end, its rank (negative), its place in the order of submission."""

NEVER = float("inf")


class Stage(Enum):
    """Where a task stands, as far as the scheduler is concerned."""

    WAITING = "waiting"
    DELAYED = "delayed"  # ready, but not before its time
    QUEUED = "ready"
    RUNNING = "running"
    ENDED = "ended"


class Node:
    """A task: what it takes to decide when it runs, and nothing else of it.

    `rank` is the estimated length in seconds of the longest chain that begins with the task; `latest` the time by
    which it has to end for every deadline after it to be met.
    """

    __slots__ = (
        "attempt", "deadline", "entry", "hint", "kind", "label", "latest", "lease", "name", "needs", "not_before",
        "on_failure", "order", "plan", "priority", "rank", "resources", "since", "stage",
    )  # fmt: skip

    def __init__(self, plan: PlanGraph, task: Task, order: int, shape: Shape) -> None:
        self.plan = plan
        self.name = task.name
        self.kind, self.label, self.resources = shape
        self.priority = plan.priority if task.priority is None else task.priority
        self.deadline = _earlier(task.deadline, plan.deadline)
        self.hint = task.estimate
        self.on_failure = task.when is When.FAILED
        self.order = order
        self.needs: tuple[Node, ...] = ()
        self.rank = 0.0
        self.latest = NEVER
        self.stage = Stage.WAITING
        self.attempt = 0
        self.not_before: float | None = None
        self.since = 0.0  # when it came into line
        self.entry: Entry | None = None
        self.lease: Lease | None = None

    @property
    def id(self) -> str:
        """The task's id."""
        return f"{self.plan.id}/{self.name}"


class PlanGraph:
    """A plan: its nodes by name, and what it has had of the workers so far.

    `boost` is by how many steps its tasks are more urgent than they say, because the plan has waited too long.
    """

    def __init__(self, added: PlanAdded, order: int) -> None:
        self.id = added.plan
        self.priority = added.priority
        self.deadline = added.deadline
        self.flows: dict[tuple[str, Resources, int], Flow] = {}
        self.queued = 0
        self.running: dict[str, int] = {}  # how many tasks run, by kind
        self.served: dict[str, int] = {}  # when a task was last assigned, by kind
        self.boost = 0
        self.since = 0.0  # when it last got something, or began to wait
        self.ranked = -1  # the version of the estimates that the ranks were made of
        self.learned = 0  # tasks that taught something since
        self.nodes: dict[str, Node] = {}
        self._read(added.tasks, order)
        self._sorted = _needs_first(self.nodes.values())

    def _read(self, tasks: Iterable[Task], order: int) -> None:
        shapes: dict[Shape, Shape] = {}
        for place, task in enumerate(tasks, order):
            resources = tuple(sorted((name, need) for name, need in task.resources.items() if need > 0))
            shape = (task.kind, label(task.name), resources)
            self.nodes[task.name] = Node(self, task, place, shapes.setdefault(shape, shape))
        for task in tasks:
            self.nodes[task.name].needs = tuple(self.nodes[name] for name in task.needs if name in self.nodes)

    def rank(self, estimates: Estimates) -> None:
        """Work out rank and latest end of every task: upward ranks as in list scheduling by critical path.

        What runs only on failure does not count towards what comes before it.
        """
        for node in self._sorted:
            node.rank = 0.0
            node.latest = NEVER if node.deadline is None else node.deadline
        for node in reversed(self._sorted):
            estimate = estimates.of(node.kind, node.name, node.label, node.hint)
            rank = node.rank = node.rank + estimate
            if node.on_failure:
                continue
            start = node.latest - estimate
            for need in node.needs:
                if need.rank < rank:
                    need.rank = rank
                if start < need.latest:
                    need.latest = start
        self.ranked = estimates.version
        self.learned = 0

    def outdated(self, estimates: Estimates) -> bool:
        """Tell whether to rank again: estimates changed, and enough was learned since to be worth going through all."""
        return self.ranked != estimates.version and self.learned > len(self.nodes) // 32

    def share(self, kinds: Sequence[str]) -> tuple[int, int]:
        """Return how many tasks of those kinds run, and when one was last assigned: what to be fair by."""
        if len(kinds) == 1:
            return self.running.get(kinds[0], 0), self.served.get(kinds[0], 0)
        return sum(self.running.get(kind, 0) for kind in kinds), max(self.served.get(kind, 0) for kind in kinds)

    def dissolve(self) -> None:
        """Let go of the nodes, which refer to the plan as it does to them."""
        self.nodes.clear()
        self._sorted.clear()
        self.flows.clear()


def _earlier(one: float | None, other: float | None) -> float | None:
    given = [time for time in (one, other) if time is not None]
    return min(given, default=None)


def _needs_first(nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes so that each comes after its needs; those in a circle come last."""
    missing: dict[Node, int] = {}
    after: dict[Node, list[Node]] = {}
    for node in nodes:
        missing[node] = len(node.needs)
        for need in node.needs:
            after.setdefault(need, []).append(node)
    found = [node for node, count in missing.items() if count == 0]
    for node in found:  # grows while it is gone through
        for follower in after.get(node, ()):
            missing[follower] -= 1
            if missing[follower] == 0:
                found.append(follower)
    found.extend(node for node, count in missing.items() if count > 0)
    return found
