"""Leases: which worker holds which task, and when to believe that it does so no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aats_agent_task_scheduler.agenda import Agenda
from aats_agent_task_scheduler.plan import Node, Stage
from aats_agent_task_scheduler.workers import Pool, Worker


class Lease:
    """A task in the hands of a worker; `missing` is since when the worker's heartbeats do not mention it."""

    __slots__ = ("attempt", "missing", "node", "sure", "worker")

    def __init__(self, node: Node, worker: Worker) -> None:
        self.node = node
        self.attempt = node.attempt
        self.worker = worker
        self.missing: float | None = None
        self.sure = True  # False until the project manager repeats it, where it has begun to tell all anew


class Leases:
    """Grants and ends leases, which a worker's heartbeats renew for `seconds` each time.

    A lease runs out when its worker has been silent for that long, or when heartbeats have left the task out for a
    quarter of it: workers send three in that time, so at least two have left it out.
    """

    def __init__(self, pool: Pool, seconds: float) -> None:
        self.seconds = seconds
        self._pool = pool
        self._silences: Agenda[Worker] = Agenda()

    def worker(self, name: str, now: float) -> Worker:
        """Return the worker of that name, which from now on has to be heard of."""
        known = name in self._pool.workers
        worker = self._pool.get(name, now)
        if not known:
            self._silences.add(now + self.seconds, worker)
        return worker

    def grant(self, node: Node, worker: Worker) -> None:
        """Give a task to a worker."""
        lease = node.lease = Lease(node, worker)
        node.stage = Stage.RUNNING
        worker.take(lease)
        running = node.plan.running
        running[node.kind] = running.get(node.kind, 0) + 1

    def release(self, node: Node) -> None:
        """Take a task from its worker."""
        lease = node.lease
        if lease is None:
            return
        node.lease = None
        node.plan.running[node.kind] -= 1
        lease.worker.give_back(lease)
        self._pool.freed(lease.worker)

    def heartbeat(self, worker: Worker, running: Iterable[tuple[str, int]], now: float) -> list[Lease]:
        """Compare what a worker says it runs with its leases; return those that it has left out for too long."""
        said = set(running)
        lost = []
        for key, lease in worker.leases.items():
            if key in said:
                lease.missing = None
            elif lease.missing is None:
                lease.missing = now
            elif now - lease.missing >= self.seconds / 4:
                lost.append(lease)
        worker.strangers = said - worker.leases.keys() - worker.freed
        worker.freed.clear()
        self._pool.freed(worker)
        return lost

    def silent(self, now: float) -> Iterator[Worker]:
        """Yield the workers that have not been heard of for the length of a lease."""
        for worker in self._silences.due(now):
            if self._pool.workers.get(worker.name) is not worker:
                continue
            if worker.seen + self.seconds <= now:
                yield worker
            else:
                self._silences.add(worker.seen + self.seconds, worker)

    def next(self) -> float | None:
        """Return when to look for silent workers again."""
        return self._silences.next()
