"""Where the tasks of a dependency graph are drawn, and along which points its edges run.

The method is Sugiyama's: layers by longest path, waypoints where an edge crosses a layer, fewer crossings by
barycentres, then coordinates close to the neighbours' (isotonic regression keeps order and distance).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import msgspec

from aats_core.report.path import Needs, layers

SWEEPS = 6


class Point(msgspec.Struct, frozen=True):
    """A place in the drawing, in pixels from its upper left corner."""

    x: float
    y: float


class Route(msgspec.Struct, frozen=True):
    """An edge from a need to the task that needs it, through these points."""

    source: str
    target: str
    points: tuple[Point, ...]


class Layout(msgspec.Struct, frozen=True):
    """A drawing: the centre of every task, the routes of the edges, and the size of it all."""

    places: dict[str, Point]
    routes: list[Route]
    width: float
    height: float


def lay_out(needs: Needs, *, size: Point, gap: Point) -> Layout:
    """Place tasks of a size in columns, with a gap (at least) between the columns and within them."""
    columns, chains = _with_waypoints(needs)
    neighbours = _neighbours(chains)
    columns = _fewer_crossings(columns, neighbours)
    room = {node: (size.y if node in needs else 0.0) + gap.y for column in columns for node in column}
    heights = _heights(columns, neighbours, room)
    top = min((heights[node] - room[node] / 2 for node in heights), default=0.0) + gap.y / 2
    bottom = max((heights[node] + room[node] / 2 for node in heights), default=0.0) - gap.y / 2
    place = {
        node: Point(index * (size.x + gap.x) + size.x / 2, heights[node] - top)
        for index, column in enumerate(columns)
        for node in column
    }
    return Layout(
        places={name: place[name] for name in needs},
        routes=[Route(chain[0], chain[-1], _stops([place[node] for node in chain], size.x)) for chain in chains],
        width=len(columns) * (size.x + gap.x) - gap.x,
        height=bottom - top,
    )


def _stops(chain: Sequence[Point], width: float) -> tuple[Point, ...]:
    """Return where an edge leaves its need, passes each column that it crosses, and arrives."""
    first, *middle, last = chain
    passed = [Point(point.x + side * width / 2, point.y) for point in middle for side in (-1, 1)]
    return (Point(first.x + width / 2, first.y), *passed, Point(last.x - width / 2, last.y))


def lay_out_dense(needs: Needs, *, across: float, down: float, rows: int) -> Layout:
    """Place tasks as dots; a layer of more than `rows` of them takes several columns, and edges run straight."""
    neighbours = _neighbours([[need, name] for name, before in needs.items() for need in before])
    columns: list[list[str]] = []
    for layer in _fewer_crossings(layers(needs), neighbours):
        columns.extend(layer[start : start + rows] for start in range(0, len(layer), rows))
    tallest = max(map(len, columns), default=0)
    places = {
        name: Point((index + 0.5) * across, ((tallest - len(column)) / 2 + row + 0.5) * down)
        for index, column in enumerate(columns)
        for row, name in enumerate(column)
    }
    routes = [Route(need, name, (places[need], places[name])) for name, before in needs.items() for need in before]
    return Layout(places, routes, len(columns) * across, tallest * down)


def _with_waypoints(needs: Needs) -> tuple[list[list[str]], list[list[str]]]:
    """Return the layers, and each edge as a chain of nodes with one in every layer that it crosses."""
    columns = layers(needs)
    level = {name: index for index, column in enumerate(columns) for name in column}
    chains: list[list[str]] = []
    for name, before in needs.items():
        for need in before:
            chain = [need]
            for index in range(level[need] + 1, level[name]):
                waypoint = f"{need}\0{name}\0{index}"  # no task's name holds a NUL
                columns[index].append(waypoint)
                chain.append(waypoint)
            chains.append([*chain, name])
    return columns, chains


def _neighbours(chains: Sequence[Sequence[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """Return for each node its neighbours to the left and to the right."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for chain in chains:
        for left, right in pairwise(chain):
            found.setdefault(right, ([], []))[0].append(left)
            found.setdefault(left, ([], []))[1].append(right)
    return found


def _fewer_crossings(
    columns: list[list[str]], neighbours: Mapping[str, tuple[list[str], list[str]]]
) -> list[list[str]]:
    position: dict[str, float] = {}
    for column in columns:
        _number(column, position)
    for sweep in range(SWEEPS):
        side = sweep % 2
        for column in columns if side == 0 else reversed(columns):
            column.sort(key=lambda node: _mean(neighbours.get(node, ([], []))[side], position, position[node]))
            _number(column, position)
    return columns


def _number(column: Sequence[str], position: dict[str, float]) -> None:
    for index, node in enumerate(column):
        position[node] = (index + 0.5) / len(column)


def _mean(nodes: Sequence[str], position: Mapping[str, float], default: float) -> float:
    return sum(position[node] for node in nodes) / len(nodes) if nodes else default


def _heights(
    columns: Sequence[Sequence[str]],
    neighbours: Mapping[str, tuple[list[str], list[str]]],
    room: Mapping[str, float],
) -> dict[str, float]:
    heights = {node: 0.0 for column in columns for node in column}
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            beside = [[*left, *right] for left, right in (neighbours.get(node, ([], [])) for node in column)]
            wanted = [_mean(nodes, heights, heights[node]) for node, nodes in zip(column, beside, strict=True)]
            heights.update(zip(column, spread(wanted, [room[node] for node in column]), strict=True))
    return heights


def spread(wanted: Sequence[float], room: Sequence[float]) -> list[float]:
    """Return heights in the same order, as near to the wanted ones as they can be when each takes that much room.

    Near means the least sum of squares; found by pooling adjacent violators.
    """
    offsets = [above + own / 2 for above, own in zip(accumulate(room, initial=0.0), room, strict=False)]
    pools: list[tuple[float, int]] = []
    for height, offset in zip(wanted, offsets, strict=True):
        mean, count = height - offset, 1
        while pools and pools[-1][0] >= mean:
            last, size = pools.pop()
            mean, count = (mean * count + last * size) / (count + size), count + size
        pools.append((mean, count))
    flat = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]
