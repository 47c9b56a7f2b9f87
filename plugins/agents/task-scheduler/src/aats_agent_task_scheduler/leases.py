"""Leases: which worker holds which task, and when to believe that it does so no more."""

from __future__ import annotations

from collections.abc import Iterable

from aats_agent_task_scheduler.agenda import Agenda
from aats_agent_task_scheduler.plan import Node, Stage
from aats_agent_task_scheduler.workers import Pool, Worker

INHERITED = 1.0
"""Seconds after which a task that was running before this scheduler is lost where its worker does not know it."""


class Lease:
    """A task in the hands of a worker.

    `missing` is since when the worker's heartbeats leave the task out, `patience` for how many seconds they may.
    `disputed` says that the project manager has called the task ready meanwhile.
    """

    __slots__ = ("attempt", "disputed", "missing", "node", "patience", "worker")

    def __init__(self, node: Node, worker: Worker, patience: float) -> None:
        self.node = node
        self.attempt = node.attempt
        self.worker = worker
        self.patience = patience
        self.missing: float | None = None
        self.disputed = False


class Leases:
    """Grants and ends leases, which a worker's heartbeats renew for `seconds` each time.

    A lease runs out when its worker has been silent for that long; when a worker that is not silent does not come to
    mention the task in that long; or when one that did mention it has left it out for a quarter of that, in which the
    end of the task would have become known. However long a task takes, nothing else ends its lease.
    """

    def __init__(self, pool: Pool, seconds: float) -> None:
        self.seconds = seconds
        self._pool = pool
        self._silences: Agenda[Worker] = Agenda()
        self._missing: Agenda[Lease] = Agenda()

    def worker(self, name: str, now: float) -> Worker:
        """Return the worker of that name, which from now on has to be heard of."""
        known = name in self._pool.workers
        worker = self._pool.get(name, now)
        if not known:
            self._silences.add(now + self.seconds, worker)
        return worker

    def grant(self, node: Node, worker: Worker) -> None:
        """Give a task to a worker."""
        self._bind(Lease(node, worker, self.seconds))

    def inherit(self, node: Node, name: str, now: float) -> None:
        """Take over a task that a worker was given by an earlier scheduler."""
        worker = self.worker(name, now)
        known = (node.id, node.attempt) in worker.unknown
        lease = Lease(node, worker, self.seconds / 4 if known else min(INHERITED, self.seconds / 4))
        self._bind(lease)
        if worker.introduced and not known:
            self._miss(lease, now)

    def release(self, node: Node) -> None:
        """Take a task from its worker."""
        lease = node.lease
        if lease is None:
            return
        node.lease = None
        node.plan.running[node.kind] -= 1
        lease.worker.give_back(lease)
        self._pool.freed(lease.worker)

    def heartbeat(self, worker: Worker, running: Iterable[tuple[str, int]], now: float) -> None:
        """Compare what a worker says it runs with its leases."""
        unknown = set(running)
        for node, lease in worker.leases.items():
            key = (node.id, lease.attempt)
            if key in unknown:
                unknown.discard(key)
                lease.missing = None
                lease.patience = self.seconds / 4
            elif lease.missing is None:
                self._miss(lease, now)
        # What is new may have ended since it was said; what was running before the worker was known has not.
        worker.strangers = unknown & worker.unknown if worker.introduced else unknown
        worker.unknown = unknown
        worker.introduced = True
        self._pool.freed(worker)

    def lost(self, now: float) -> list[Lease]:
        """Return the leases that have run out, and forget the workers that have been silent for too long."""
        lost: list[Lease] = []
        for worker in self._silences.due(now):
            if self._pool.workers.get(worker.name) is not worker:
                continue
            if worker.seen + self.seconds <= now:
                lost += worker.leases.values()
                self._pool.retire(worker)
            else:
                self._silences.add(worker.seen + self.seconds, worker)
        for lease in self._missing.due(now):
            if lease.node.lease is not lease or lease.missing is None or lease in lost:
                continue
            if lease.missing + lease.patience <= now:
                lost.append(lease)
            else:
                self._missing.add(lease.missing + lease.patience, lease)
        return lost

    def next(self) -> float | None:
        """Return when `lost` may have something to return."""
        times = [time for time in (self._silences.next(), self._missing.next()) if time is not None]
        return min(times, default=None)

    def _bind(self, lease: Lease) -> None:
        node = lease.node
        node.lease = lease
        node.stage = Stage.RUNNING
        lease.worker.take(lease)
        running = node.plan.running
        running[node.kind] = running.get(node.kind, 0) + 1

    def _miss(self, lease: Lease, now: float) -> None:
        lease.missing = now
        self._missing.add(now + lease.patience, lease)
