"""The scheduler's decisions: which task goes to which worker, from what it is told, without any I/O."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence

from aats_agent_task_scheduler.agenda import Agenda
from aats_agent_task_scheduler.estimates import Estimates
from aats_agent_task_scheduler.explain import explain, find_wait
from aats_agent_task_scheduler.leases import Leases
from aats_agent_task_scheduler.plan import Node, PlanGraph, Resources, Stage
from aats_agent_task_scheduler.ready import ReadyQueue
from aats_agent_task_scheduler.settings import SchedulerSettings
from aats_agent_task_scheduler.workers import Pool, Worker
from aats_core.task import (
    Assign,
    LeaseExpired,
    PlanAdded,
    TaskEnded,
    TaskReady,
    TaskRunning,
    Wait,
    WorkerStatus,
)

_NOT_KNOWN = "the scheduler does not know it: its plan has ended, or has never been submitted"

log = logging.getLogger("aats.task-scheduler")


class Core:
    """Is told what happens, and at what time; `decide` and `expire` say what follows from it.

    Times are seconds on one clock, the same for `now`, deadlines and `not_before`, and never go backwards. Telling
    the same thing twice changes nothing. What refers to an unknown plan is passed over.
    """

    def __init__(self, settings: SchedulerSettings, *, lease: float, estimates: Estimates | None = None) -> None:
        self.estimates = estimates or Estimates()
        self.draining = False
        self._settings = settings
        self._pool = Pool()
        self._leases = Leases(self._pool, lease)
        self._queue = ReadyQueue(self._pool.rivals)
        self._plans: dict[str, PlanGraph] = {}
        self._delayed: Agenda[Node] = Agenda()
        self._next_ageing = 0.0
        self._submitted = 0
        self._served = 0

    def add_plan(self, added: PlanAdded) -> None:
        """Take in a plan; of one that is known, only which tasks have ended is news."""
        plan = self._plans.get(added.plan)
        if plan is None:
            plan = self._plans[added.plan] = PlanGraph(added, self._submitted)
            self._submitted += len(added.tasks)
            plan.rank(self.estimates)
        ended = frozenset(added.ended)
        for node in plan.nodes.values():
            if node.name in ended:
                self._withdraw(node)
                node.stage = Stage.ENDED
            elif node.stage is Stage.ENDED:
                node.stage = Stage.WAITING

    def remove_plan(self, id: str) -> None:
        """Forget a plan."""
        plan = self._plans.pop(id, None)
        if plan is None:
            return
        self._queue.drop_plan(plan)
        for node in plan.nodes.values():
            self._leases.release(node)
            node.stage = Stage.ENDED
        plan.dissolve()

    def ready(self, task: TaskReady, now: float) -> None:
        """Take in that a task may run."""
        node = self._node(task.plan, task.name)
        if node is None or task.attempt < node.attempt:
            return
        if node.lease is not None and task.attempt == node.attempt:
            # Said before the assignment was heard of, most likely; if that was lost, the lease will show it.
            node.lease.disputed = True
            return
        self._withdraw(node)
        node.attempt = task.attempt
        node.not_before = task.not_before
        if task.not_before is not None and task.not_before > now:
            node.stage = Stage.DELAYED
            self._delayed.add(task.not_before, node)
        else:
            self._enqueue(node, now)

    def running(self, task: TaskRunning, now: float) -> None:
        """Take over the lease of a task that was running already."""
        node = self._node(task.plan, task.name)
        if node is None:
            return
        lease = node.lease
        if lease is not None and (lease.worker.name, lease.attempt) == (task.worker, task.attempt):
            lease.disputed = False
            return
        self._withdraw(node)
        node.attempt = task.attempt
        self._leases.inherit(node, task.worker, now)

    def ended(self, task: TaskEnded) -> None:
        """Take in that an attempt is over, and learn from how long the last one ran."""
        node = self._node(task.plan, task.name)
        if node is None:
            return
        if task.seconds is not None and task.final:
            self._learn(node, task.seconds)
        if task.final or task.attempt >= node.attempt:
            self._withdraw(node)
            node.stage = Stage.ENDED if task.final else Stage.WAITING

    def worker_status(self, status: WorkerStatus, now: float) -> None:
        """Take in a worker's heartbeat, which may be its first."""
        worker = self._leases.worker(status.worker, now)
        if self._pool.introduce(worker, status, now):
            self._queue.regroup()
        self._leases.heartbeat(worker, status.running, now)

    def worker_gone(self, name: str, now: float) -> None:
        """Take in that a worker has stopped; what it should still hold runs out like any other lease."""
        worker = self._pool.workers.get(name)
        if worker is not None:
            worker.seen = now
            self._pool.retire(worker)
            self._queue.regroup()

    def decide(self, now: float) -> list[Assign]:
        """Assign ready tasks to free workers, most urgent first, until nothing more fits."""
        self._wake(now)
        if self.draining:
            return []
        found: list[Assign] = []
        reserved: set[Worker] = set()
        contest = [
            (bound, number, lane)
            for number, lane in enumerate(self._queue.lanes())
            if self._pool.has_room(lane.kind) and (bound := lane.flows.bound()) is not None
        ]
        heapq.heapify(contest)
        while contest:
            bound, number, lane = contest[0]
            first = lane.first()
            if first is None:
                heapq.heappop(contest)
                self._queue.close(lane)
            elif first[0] != bound:
                heapq.heapreplace(contest, (first[0], number, lane))
            elif not self._serve(first[1], reserved, found, now):
                heapq.heappop(contest)
        return found

    def expire(self, now: float) -> list[LeaseExpired]:
        """End the leases that have run out."""
        lost = self._leases.lost(now)
        for lease in lost:
            node = lease.node
            self._withdraw(node)
            self._pool.forget(lease.worker)
            if lease.disputed:
                self._enqueue(node, now)
        if lost:
            self._queue.regroup()
        return [LeaseExpired(each.node.plan.id, each.node.name, each.attempt, each.worker.name) for each in lost]

    def wakeup(self) -> float | None:
        """Return when `decide` or `expire` may have something to say although nothing has happened."""
        times = [time for time in (self._delayed.next(), self._leases.next()) if time is not None]
        return min(times, default=None)

    def explain(self, id: str, now: float) -> str:
        """Say in words why a task does not run yet."""
        node = self._find(id)
        if node is None:
            return _NOT_KNOWN
        return explain(node, now, pool=self._pool, queue=self._queue, draining=self.draining)

    def explain_many(self, ids: Sequence[str], now: float) -> list[Wait]:
        """Say why tasks do not run yet, without their places in line, which would have to be counted for each."""
        in_line: dict[tuple[str, Resources], Wait] = {}
        return [self._wait(task, now, in_line) for task in ids]

    def _wait(self, id: str, now: float, in_line: dict[tuple[str, Resources], Wait]) -> Wait:
        node = self._find(id)
        if node is None:
            return Wait(_NOT_KNOWN)
        wait = in_line.get((node.kind, node.resources)) if node.stage is Stage.QUEUED else None
        if wait is None:
            wait = find_wait(node, now, pool=self._pool, draining=self.draining)
            if node.stage is Stage.QUEUED:
                in_line[node.kind, node.resources] = wait
        return wait

    def _node(self, plan: str, name: str) -> Node | None:
        graph = self._plans.get(plan)
        node = None if graph is None else graph.nodes.get(name)
        if node is None:
            log.debug("passed over what was said of task %s/%s, which is not known", plan, name)
        return node

    def _find(self, id: str) -> Node | None:
        plan, _, name = id.partition("/")
        graph = self._plans.get(plan)
        return None if graph is None else graph.nodes.get(name)

    def _enqueue(self, node: Node, now: float) -> None:
        plan = node.plan
        if plan.queued == 0:
            plan.since, plan.boost = now, 0
        node.stage = Stage.QUEUED
        node.since = now
        self._queue.push(node)

    def _learn(self, node: Node, seconds: float) -> None:
        plan = node.plan
        self.estimates.learn(node.kind, node.name, node.label, seconds)
        plan.learned += 1
        if plan.outdated(self.estimates):
            plan.rank(self.estimates)
            self._queue.reorder(plan)

    def _withdraw(self, node: Node) -> None:
        if node.lease is not None:
            self._leases.release(node)
            self._queue.touch(node.plan)
        self._queue.drop(node)
        node.stage = Stage.WAITING

    def _wake(self, now: float) -> None:
        for node in self._delayed.due(now):
            if node.stage is Stage.DELAYED and node.not_before is not None and node.not_before <= now:
                self._enqueue(node, now)
        if now >= self._next_ageing:
            self._next_ageing = now + self._settings.ageing / 10
            for plan in self._plans.values():
                if plan.queued:
                    plan.boost = int((now - plan.since) / self._settings.ageing)
                    self._queue.touch(plan)

    def _serve(self, node: Node, reserved: set[Worker], found: list[Assign], now: float) -> bool:
        """Give a task to a worker where one can take it; tell whether another task of its lane may get one too."""
        worker = self._pool.choose(node, reserved)
        if worker is None:
            self._reserve(node, reserved, now)
            return False
        found.append(self._assign(node, worker, now))
        return self._pool.has_room(node.kind)

    def _assign(self, node: Node, worker: Worker, now: float) -> Assign:
        self._queue.drop(node)
        self._leases.grant(node, worker)
        self._served += 1
        plan = node.plan
        plan.served[node.kind] = self._served
        plan.since = now
        plan.boost = 0
        return Assign(plan.id, node.name, node.attempt, worker.name, self._leases.seconds)

    def _reserve(self, node: Node, reserved: set[Worker], now: float) -> None:
        """Keep a worker free for a task that has waited long, so that small tasks do not overtake it for ever."""
        if not node.resources or now - node.since < self._settings.reserve_after:
            return
        able = [
            worker
            for worker in self._pool.of(node.kind)
            if worker not in reserved and not worker.draining and worker.could(node.resources)
        ]
        if able:
            reserved.add(min(able, key=lambda worker: (worker.shortage(node.resources), worker.order)))
