"""Paths through a graph of needs: its order, its layers and its longest chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Needs = Mapping[str, Sequence[str]]
"""For each task the tasks before it; every one of them is a key too."""


def in_order(needs: Needs) -> list[str]:
    """Return the tasks so that each comes after what it needs; tasks on a cycle are left out."""
    open_needs = {name: len(set(before)) for name, before in needs.items()}
    after = followers(needs)
    order = [name for name, count in open_needs.items() if count == 0]
    for name in order:  # grows while it is walked
        for next_name in after[name]:
            open_needs[next_name] -= 1
            if open_needs[next_name] == 0:
                order.append(next_name)
    return order


def followers(needs: Needs) -> dict[str, list[str]]:
    """Return for each task the tasks that need it."""
    after: dict[str, list[str]] = {name: [] for name in needs}
    for name, before in needs.items():
        for need in dict.fromkeys(before):
            after[need].append(name)
    return after


def layers(needs: Needs) -> list[list[str]]:
    """Return the tasks by the length of the longest chain before them; tasks on a cycle stand in the first layer."""
    depth = dict.fromkeys(needs, 0)
    for name in in_order(needs):
        depth[name] = max((depth[need] + 1 for need in needs[name]), default=0)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, level in depth.items():
        rows[level].append(name)
    return rows


def critical_path(order: Sequence[str], needs: Needs, lengths: Mapping[str, float]) -> tuple[list[str], float]:
    """Return the chain of tasks whose lengths add up to most, first task first, and that sum.

    Tasks of length 0 (which never ran) at the end of the chain are not part of it.
    """
    total: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for name in order:
        best = max(needs[name], key=lambda need: total.get(need, 0.0), default=None)
        before[name] = best
        total[name] = lengths[name] + (total.get(best, 0.0) if best else 0.0)
    last: str | None = max(total, key=lambda name: total[name], default=None)
    if last is None or total[last] == 0:
        return [], 0.0
    path: list[str] = []
    length = total[last]
    while last is not None:
        path.append(last)
        last = before.get(last)
    return path[::-1], length
