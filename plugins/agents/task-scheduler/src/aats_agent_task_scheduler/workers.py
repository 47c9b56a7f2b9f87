"""Workers as the scheduler knows them: what they offer, what they hold, and who competes for them."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

from aats_agent_task_scheduler.heap import LazyHeap
from aats_agent_task_scheduler.plan import Node, Resources
from aats_core.task import WorkerStatus

if TYPE_CHECKING:
    from aats_agent_task_scheduler.leases import Lease

_ROUNDING = 1e-9


class Worker:
    """A worker: what it last said of itself, and the leases it holds.

    `strangers` are attempts that it goes on saying it runs although no lease says so; they take slots all the same.
    """

    __slots__ = (
        "draining",
        "introduced",
        "kinds",
        "leases",
        "name",
        "order",
        "resources",
        "seen",
        "slots",
        "strangers",
        "unknown",
        "used",
    )

    def __init__(self, name: str, order: int, now: float) -> None:
        self.name = name
        self.order = order
        self.seen = now
        self.introduced = False
        self.kinds: tuple[str, ...] = ()
        self.slots = 0
        self.resources: dict[str, float] = {}
        self.draining = False
        self.leases: dict[Node, Lease] = {}
        self.strangers: set[tuple[str, int]] = set()
        self.unknown: set[tuple[str, int]] = set()  # of the last heartbeat
        self.used: dict[str, float] = {}

    @property
    def free(self) -> int:
        """How many more tasks it can take, by its slots alone."""
        return self.slots - len(self.leases) - len(self.strangers)

    def fits(self, resources: Resources) -> bool:
        """Tell whether those resources are free."""
        return all(need <= self.unused(name) + _ROUNDING for name, need in resources)

    def unused(self, name: str) -> float:
        """Return how much of a resource is free."""
        return self.resources.get(name, 0.0) - self.used.get(name, 0.0)

    def could(self, resources: Resources) -> bool:
        """Tell whether it has those resources at all."""
        return all(need <= self.resources.get(name, 0.0) + _ROUNDING for name, need in resources)

    def shortage(self, resources: Resources) -> float:
        """Return how much of those resources has to be given back before they are free, as parts of them."""
        return sum(max(0.0, need - self.unused(name)) / need for name, need in resources)

    def take(self, lease: Lease) -> None:
        """Hold a lease, and what it takes of slots and resources."""
        self.leases[lease.node] = lease
        if self.strangers:
            self.strangers.discard((lease.node.id, lease.attempt))
        for name, need in lease.node.resources:
            self.used[name] = self.used.get(name, 0.0) + need

    def give_back(self, lease: Lease) -> None:
        """Let go of a lease."""
        del self.leases[lease.node]
        for name, need in lease.node.resources:
            self.used[name] -= need
        if not self.leases:
            self.used.clear()  # and with it what rounding left behind

    def rating(self) -> tuple[float, int, float, int] | None:
        """Return what to choose workers by, the smallest first: the least loaded, then those of least other use.

        None where it can take nothing.
        """
        free = self.free
        if self.draining or free <= 0:
            return None
        return (1.0 - free / self.slots, len(self.kinds), sum(self.resources.values()), self.order)


class Pool:
    """All workers, and those of each kind in the order in which to choose them."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self._open: dict[str, LazyHeap[Worker]] = {}
        self._rivals: dict[str, tuple[str, ...]] = {}
        self._count = 0

    def get(self, name: str, now: float) -> Worker:
        """Return the worker of that name; one that has not introduced itself yet offers nothing."""
        worker = self.workers.get(name)
        if worker is None:
            self._count += 1
            worker = self.workers[name] = Worker(name, self._count, now)
        return worker

    def introduce(self, worker: Worker, status: WorkerStatus, now: float) -> bool:
        """Take in what a worker says of itself, and tell whether the kinds it offers changed."""
        worker.seen = now
        worker.slots = status.slots
        worker.resources = status.resources
        worker.draining = status.draining
        if worker.kinds == status.kinds:
            return False
        worker.kinds = status.kinds
        self._survey()
        return True

    def retire(self, worker: Worker) -> None:
        """Offer nothing of a worker any more, and forget it once it holds nothing."""
        worker.kinds, worker.slots, worker.resources = (), 0, {}
        self._survey()
        self.forget(worker)

    def forget(self, worker: Worker) -> None:
        """Drop a worker that neither offers nor holds anything."""
        if not worker.kinds and not worker.leases:
            self.workers.pop(worker.name, None)

    def freed(self, worker: Worker) -> None:
        """Take notice that a worker may be able to take more than before."""
        for kind in worker.kinds:
            self._open[kind].update(worker)

    def choose(self, node: Node, reserved: Container[Worker]) -> Worker | None:
        """Return the best worker that can take a task now; its kind has to be offered."""
        heap, resources = self._open[node.kind], node.resources
        if not resources and not reserved:
            top = heap.first()
            return None if top is None else top[1]
        return heap.first_that(lambda worker: worker not in reserved and worker.fits(resources))

    def has_room(self, kind: str) -> bool:
        """Tell whether any worker of that kind has a free slot."""
        heap = self._open.get(kind)
        return heap is not None and heap.first() is not None

    def of(self, kind: str) -> Iterator[Worker]:
        """Yield the workers that offer a kind."""
        return (worker for worker in self.workers.values() if kind in worker.kinds)

    def rivals(self, kind: str) -> tuple[str, ...]:
        """Return the kinds that compete with that one for some worker, itself included."""
        return self._rivals.get(kind) or (kind,)

    def _survey(self) -> None:
        rating: Any = Worker.rating
        rivals: dict[str, set[str]] = {}
        self._open = {}
        for worker in self.workers.values():
            for kind in worker.kinds:
                rivals.setdefault(kind, set()).update(worker.kinds)
                self._open.setdefault(kind, LazyHeap(rating)).update(worker)
        self._rivals = {kind: tuple(sorted(others)) for kind, others in rivals.items()}
