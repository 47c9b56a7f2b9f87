"""Walks over graphs level by level, whatever the database: a search asks for steps and is sent what they reach."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from enum import StrEnum
from typing import TypeAlias, TypeVar

from aats_core.errors import StoreError
from aats_core.store import GraphStore

T = TypeVar("T")


class Direction(StrEnum):
    """Which way relations are followed."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


Question: TypeAlias = tuple[list[str], Direction]
"""Asks whereto one step leads from any of those nodes, out or in."""

Steps: TypeAlias = Sequence[tuple[str, str]]
"""From where and whereto, in the order of the ids reached."""

Search: TypeAlias = Generator[Question, Steps, T]
"""Asks, is sent the answers, and returns what it found; all answers have to be of one snapshot."""


def walk(search: Search[T], step: Callable[[list[str], Direction], Steps]) -> T:
    """Return what a search finds, its questions being answered by a function."""
    try:
        question = next(search)
        while True:
            question = search.send(step(*question))
    except StopIteration as end:
        found: T = end.value
        return found


async def walk_async(search: Search[T], step: Callable[[list[str], Direction], Awaitable[Steps]]) -> T:
    """Return what a search finds, its questions being answered by a coroutine function."""
    try:
        question = next(search)
        while True:
            question = search.send(await step(*question))
    except StopIteration as end:
        found: T = end.value
        return found


def ends(direction: Direction) -> tuple[str, str]:
    """Return which end of a relation a step goes from, and which it leads to."""
    return ("source", "target") if direction is Direction.OUT else ("target", "source")


class WalkedGraph(GraphStore):
    """A graph store that answers one step of a walk at a time."""

    @abstractmethod
    async def _search(self, graph: str, kind: str | None, search: Callable[[], Search[T]]) -> T:
        """Return what a search finds in one snapshot, over relations of one kind or of all; it may begin again."""

    async def neighbours(
        self, graph: str, id: str, *, kind: str | None = None, direction: str = "out", depth: int = 1
    ) -> list[str]:
        """Return the ids reached within `depth` steps, nearest first and by id among equals, without the start."""
        try:
            way = Direction(direction)
        except ValueError as error:
            raise StoreError(f"{graph}: a direction is out, in or both, not {direction!r}") from error
        return await self._search(graph, kind, lambda: _reach(id, way, depth))

    async def shortest_path(
        self, graph: str, source: str, target: str, *, kind: str | None = None, max_depth: int = 32
    ) -> list[str] | None:
        """Return the ids along one shortest directed path of at most `max_depth` relations, or None."""
        if source == target:
            return [source] if await self.node(graph, source) is not None else None
        return await self._search(graph, kind, lambda: _shortest_path(source, target, max_depth))


def _reach(start: str, direction: Direction, depth: int) -> Search[list[str]]:
    """Find the nodes within so many steps of a node, nearest first, without it."""
    ways = [Direction.OUT, Direction.IN] if direction is Direction.BOTH else [direction]
    seen, frontier, reached = {start}, [start], []
    for _ in range(depth):
        there: set[str] = set()
        for way in ways:
            there.update(node for _, node in (yield frontier, way))
        frontier = sorted(there - seen)
        if not frontier:
            break
        seen.update(frontier)
        reached += frontier
    return reached


class _Side:
    """A breadth-first search from one end of a path: from where each node was reached first, in how many steps."""

    def __init__(self, start: str, direction: Direction) -> None:
        self.direction = direction
        self.frontier = [start]
        self.came_from = {start: start}
        self.distance = {start: 0}
        self.depth = 0

    def advance(self) -> Search[None]:
        """Go one step further."""
        self.depth += 1
        reached = []
        for here, there in (yield self.frontier, self.direction):
            if there not in self.distance:
                self.came_from[there] = here
                self.distance[there] = self.depth
                reached.append(there)
        self.frontier = reached

    def trail(self, node: str) -> list[str]:
        """Return the nodes from one back to the start."""
        trail = [node]
        while self.came_from[node] != node:
            node = self.came_from[node]
            trail.append(node)
        return trail


def _shortest_path(source: str, target: str, max_depth: int) -> Search[list[str] | None]:
    """Find the nodes of a shortest path between two different nodes from both ends, the smaller one going on."""
    ahead, back = _Side(source, Direction.OUT), _Side(target, Direction.IN)
    while ahead.frontier and back.frontier and ahead.depth + back.depth < max_depth:
        side, other = (ahead, back) if len(ahead.frontier) <= len(back.frontier) else (back, ahead)
        yield from side.advance()
        met = [node for node in side.frontier if node in other.distance]
        if met:
            middle = min(met, key=lambda node: other.distance[node])
            return ahead.trail(middle)[::-1] + back.trail(middle)[1:]
    return None
