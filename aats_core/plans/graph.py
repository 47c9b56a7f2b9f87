"""The graph of a plan's tasks: order, cycles, critical path and bounds, each without recursion.

A graph is a mapping from each task's name to the names of its needs; needs that are not tasks are left out of account.
Lengths are seconds by task name, and what has none takes no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from aats_core.errors import InvalidRequest
from aats_core.task import Task

Needs = Mapping[str, Sequence[str]]
"""The needs of every task, by name."""


class CriticalPath(msgspec.Struct, frozen=True):
    """The tasks that determine when all is done at the earliest, first to last, and the seconds they take."""

    tasks: tuple[str, ...]
    seconds: float


def needs_of(tasks: Iterable[Task]) -> dict[str, tuple[str, ...]]:
    """Return the graph of some tasks, in their order."""
    return {task.name: task.needs for task in tasks}


def find_cycles(needs: Needs) -> list[list[str]]:
    """Return the cycles that stand in the way of an order, each from a task through its needs back to that task.

    At least one of every group of tasks that depend on each other is found, and no task is in two of them.
    """
    return _walk(needs)[1]


def topological_order(needs: Needs) -> list[str]:
    """Return all names so that each comes after its needs, otherwise in the order given.

    Raises `InvalidRequest` if there is a cycle, and names it.
    """
    order, cycles = _walk(needs)
    if cycles:
        raise InvalidRequest(f"the tasks need each other in a circle: {' -> '.join(cycles[0])}")
    return order


def _walk(needs: Needs) -> tuple[list[str], list[list[str]]]:
    walk = _Walk(needs)
    for name in needs:
        walk.visit(name)
    return walk.order, walk.cycles


@dataclass(slots=True)
class _Step:
    """A task on the path of a walk; `closed` is the last position up to here that a cycle has been noted for."""

    name: str
    rest: Iterator[str]
    closed: int


class _Walk:
    """Goes depth first from tasks through their needs; each comes in the order after what it needs."""

    def __init__(self, needs: Needs) -> None:
        self.order: list[str] = []
        self.cycles: list[list[str]] = []
        self._needs = needs
        self._path: list[_Step] = []
        self._positions: dict[str, int] = {}  # on the path; -1 once the task is in the order

    def visit(self, name: str) -> None:
        if name in self._positions:
            return
        self._enter(name)
        while self._path:
            step = self._path[-1]
            for need in step.rest:
                position = self._positions.get(need)
                if position is None and need in self._needs:
                    self._enter(need)
                    break
                if position is not None and position > step.closed:
                    self._note_cycle(position)
            else:
                self._leave()

    def _enter(self, name: str) -> None:
        closed = self._path[-1].closed if self._path else -1
        self._positions[name] = len(self._path)
        self._path.append(_Step(name, iter(self._needs[name]), closed))

    def _leave(self) -> None:
        name = self._path.pop().name
        self._positions[name] = -1
        self.order.append(name)

    def _note_cycle(self, start: int) -> None:
        steps = self._path[start:]
        self.cycles.append([*(step.name for step in steps), steps[0].name])
        for position, step in enumerate(steps, start):
            step.closed = position


def dependents(needs: Needs) -> dict[str, list[str]]:
    """Return for every task which tasks need it, in their order."""
    found: dict[str, list[str]] = {name: [] for name in needs}
    for name, own in needs.items():
        for need in dict.fromkeys(own):
            if need in found:
                found[need].append(name)
    return found


def earliest_ends(needs: Needs, seconds: Mapping[str, float]) -> dict[str, float]:
    """Return after how many seconds each task ends at the earliest, with workers without limit."""
    ends: dict[str, float] = {}
    for name in topological_order(needs):
        begin = max((ends[need] for need in needs[name] if need in ends), default=0.0)
        ends[name] = begin + seconds.get(name, 0.0)
    return ends


def upward_ranks(needs: Needs, seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds from each task's begin to the end of the longest chain that it begins, itself included.

    This is the upward rank of HEFT (Topcuoglu et al., 2002) without communication costs.
    """
    ranks = dict.fromkeys(needs, 0.0)
    for name in reversed(topological_order(needs)):
        ranks[name] += seconds.get(name, 0.0)
        for need in needs[name]:
            if need in ranks:
                ranks[need] = max(ranks[need], ranks[name])
    return ranks


def critical_path(needs: Needs, seconds: Mapping[str, float]) -> CriticalPath:
    """Return the longest chain of tasks, by the seconds they take together."""
    ends = earliest_ends(needs, seconds)
    if not ends:
        return CriticalPath((), 0.0)
    last = max(ends, key=ends.__getitem__)
    return CriticalPath(tuple(chain_to(last, needs, ends)), ends[last])


def chain_to(name: str, needs: Needs, ends: Mapping[str, float]) -> list[str]:
    """Return the chain of tasks, first to last, that determines when that task ends at the earliest."""
    chain = [name]
    while known := [need for need in needs[chain[-1]] if need in ends]:
        chain.append(max(known, key=ends.__getitem__))
    return chain[::-1]


def lower_bound(needs: Needs, seconds: Mapping[str, float], workers: int) -> float:
    """Return seconds that no schedule on so many equal workers can beat: the critical path, or the work shared out."""
    work = sum(seconds.get(name, 0.0) for name in needs)
    return max(critical_path(needs, seconds).seconds, work / workers)
