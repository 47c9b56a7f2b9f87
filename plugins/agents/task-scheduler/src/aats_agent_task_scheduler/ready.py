"""The tasks that are ready for a worker, in the order in which they should get one."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TypeAlias

from aats_agent_task_scheduler.heap import LazyHeap
from aats_agent_task_scheduler.plan import Entry, Node, PlanGraph, Resources

Urgency: TypeAlias = tuple[int, float, int, int, float, int]
"""What decides between plans, the smallest first: priority with what waiting has added to it, latest end, how many
tasks of the plan run already, when it last got a worker, rank (negative), order of submission."""

Rivals: TypeAlias = Callable[[str], tuple[str, ...]]


class Flow:
    """The ready tasks of one plan that have kind, resources and priority in common."""

    __slots__ = ("heap", "lane", "plan", "priority")

    def __init__(self, plan: PlanGraph, lane: Lane, priority: int) -> None:
        self.plan = plan
        self.lane = lane
        self.priority = priority
        self.heap: list[Entry] = []

    def first(self) -> Entry | None:
        """Return the most urgent of them, or None."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if entry[3].entry is entry:
                return entry
            heapq.heappop(heap)  # taken out of line meanwhile
        return None

    def entries(self) -> list[Entry]:
        """Return all of them, in no order."""
        return [entry for entry in self.heap if entry[3].entry is entry]


class Lane:
    """The ready tasks of all plans that ask the same of a worker: its kind and its resources."""

    __slots__ = ("_rivals", "flows", "kind", "resources")

    def __init__(self, kind: str, resources: Resources, rivals: Rivals) -> None:
        self.kind = kind
        self.resources = resources
        self._rivals = rivals
        self.flows: LazyHeap[Flow] = LazyHeap(self.urgency)

    def urgency(self, flow: Flow) -> Urgency | None:
        """Return how urgent a plan's tasks are, or None where it has none here."""
        entry = flow.first()
        if entry is None:
            return None
        plan = flow.plan
        running, served = plan.share(self._rivals(self.kind))
        return (flow.priority - plan.boost, entry[0], running, served, entry[1], entry[2])

    def first(self) -> tuple[Urgency, Node] | None:
        """Return the most urgent task, with how urgent it is."""
        top = self.flows.first()
        if top is None:
            return None
        urgency, flow = top
        return urgency, flow.heap[0][3]

    def regroup(self) -> None:
        """Put the plans in order again after any of their urgencies may have changed."""
        for flow in list(self.flows):
            self.flows.update(flow)


class ReadyQueue:
    """All lanes."""

    def __init__(self, rivals: Rivals) -> None:
        self._rivals = rivals
        self._lanes: dict[tuple[str, Resources], Lane] = {}

    def lanes(self) -> list[Lane]:
        """Return all lanes, some of them perhaps empty."""
        return list(self._lanes.values())

    def close(self, lane: Lane) -> None:
        """Do away with an empty lane."""
        del self._lanes[lane.kind, lane.resources]

    def push(self, node: Node) -> None:
        """Put a task in line."""
        flow = self._flow(node)
        entry = node.entry = (node.latest, -node.rank, node.order, node)
        heapq.heappush(flow.heap, entry)
        node.plan.queued += 1
        flow.lane.flows.update(flow)

    def drop(self, node: Node) -> None:
        """Take a task out of line."""
        if node.entry is not None:
            node.entry = None
            node.plan.queued -= 1

    def drop_plan(self, plan: PlanGraph) -> None:
        """Take all tasks of a plan out of line."""
        for flow in plan.flows.values():
            flow.heap.clear()
            flow.lane.flows.discard(flow)

    def reorder(self, plan: PlanGraph) -> None:
        """Sort a plan's tasks anew after their ranks have changed."""
        for flow in plan.flows.values():
            nodes = [entry[3] for entry in flow.entries()]
            flow.heap = []
            for node in nodes:
                node.entry = (node.latest, -node.rank, node.order, node)
                flow.heap.append(node.entry)
            heapq.heapify(flow.heap)
        self.touch(plan)

    def touch(self, plan: PlanGraph) -> None:
        """Take notice that a plan has become more urgent."""
        for flow in plan.flows.values():
            flow.lane.flows.update(flow)

    def regroup(self) -> None:
        """Put everything in order again after workers have changed what they offer."""
        for lane in self._lanes.values():
            lane.regroup()

    def ahead(self, node: Node) -> int:
        """Return how many tasks of the same kind are in line before that one, if plans of equal urgency take turns."""
        mine = node.entry
        assert mine is not None
        before = 0
        equals: dict[PlanGraph, list[Entry]] = {}
        for flow in self._flows(node.kind):
            above = flow.priority - flow.plan.boost - (node.priority - node.plan.boost)
            if above <= 0:
                entries = flow.entries()
                equal = [entry for entry in entries if above == 0 and entry[0] >= mine[0]]
                before += len(entries) - len(equal)
                equals.setdefault(flow.plan, []).extend(entry for entry in equal if entry[0] == mine[0])
        own = sum(entry < mine for entry in equals[node.plan])
        turn = self._turn(node.plan, equals.pop(node.plan), node.kind)
        others = ((plan, entries) for plan, entries in equals.items() if entries)
        return (
            before
            + own
            + sum(min(len(entries), own + (self._turn(plan, entries, node.kind) < turn)) for plan, entries in others)
        )

    def _turn(self, plan: PlanGraph, entries: list[Entry], kind: str) -> tuple[float, ...]:
        """Return what decides which of two plans goes first."""
        return (*plan.share(self._rivals(kind)), *min(entries)[1:3])

    def _flows(self, kind: str) -> Iterator[Flow]:
        for lane in self._lanes.values():
            if lane.kind == kind:
                yield from lane.flows

    def _flow(self, node: Node) -> Flow:
        key = (node.kind, node.resources, node.priority)
        flow = node.plan.flows.get(key)
        if flow is None or self._lanes.get(key[:2]) is not flow.lane:
            lane = self._lanes.get(key[:2])
            if lane is None:
                lane = self._lanes[key[:2]] = Lane(node.kind, node.resources, self._rivals)
            flow = node.plan.flows[key] = Flow(node.plan, lane, node.priority)
        return flow
