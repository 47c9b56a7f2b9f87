"""Walks over a graph, one query for each level."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from aats_store_postgres.session import Session


class Direction(StrEnum):
    """Which way along relations."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


class Edges:
    """The relations of a graph, of one kind or of all, within one snapshot."""

    def __init__(self, session: Session, table: str, graph: str, kind: str | None) -> None:
        self._session = session
        self._table = table
        self._arguments = [graph] if kind is None else [graph, kind]

    async def step(self, ids: Iterable[str], direction: Direction) -> list[tuple[str, str]]:
        """Return from where and whereto one step leads from any of those nodes, in the order of the ids reached."""
        if direction is Direction.BOTH:
            both = {*await self.step(ids, Direction.OUT), *await self.step(ids, Direction.IN)}
            return sorted(both, key=lambda pair: pair[::-1])
        here, there = ("source", "target") if direction is Direction.OUT else ("target", "source")
        of_kind = "AND kind = $3" if len(self._arguments) > 1 else ""
        rows = await self._session.fetch(
            f"SELECT DISTINCT {there}, {here} FROM {self._table}"
            f" WHERE graph = $2 AND {here} = ANY($1::text[]) {of_kind} ORDER BY {there}, {here}",
            list(ids),
            *self._arguments,
        )
        return [(row[1], row[0]) for row in rows]


async def reach(edges: Edges, start: str, direction: Direction, depth: int) -> list[str]:
    """Return the nodes within so many steps of a node, nearest first, without it."""
    seen, frontier, reached = {start}, [start], []
    for _ in range(depth):
        steps = await edges.step(frontier, direction)
        frontier = list(dict.fromkeys(there for _, there in steps if there not in seen))
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

    async def advance(self, edges: Edges) -> None:
        """Go one step further."""
        self.depth += 1
        reached = []
        for here, there in await edges.step(self.frontier, self.direction):
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


async def shortest_path(edges: Edges, source: str, target: str, max_depth: int) -> list[str] | None:
    """Return the nodes of a shortest path between two different nodes, searched from both ends, or None."""
    ahead, back = _Side(source, Direction.OUT), _Side(target, Direction.IN)
    while ahead.frontier and back.frontier and ahead.depth + back.depth < max_depth:
        side, other = (ahead, back) if len(ahead.frontier) <= len(back.frontier) else (back, ahead)
        await side.advance(edges)
        met = [node for node in side.frontier if node in other.distance]
        if met:
            middle = min(met, key=lambda node: other.distance[node])
            return ahead.trail(middle)[::-1] + back.trail(middle)[1:]
    return None
