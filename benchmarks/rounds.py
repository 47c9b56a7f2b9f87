"""How the benchmarks measure: every case once a round, in turn, several rounds, and the medians of what they say."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping

ROUNDS = 3


def measure(cases: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """Run every case once a round, interleaved so that drift of the machine hits all alike; return the medians."""
    figures: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            figures[name].append(case())
    return {name: statistics.median(values) for name, values in figures.items()}


def show(title: str, unit: str, figures: Mapping[str, float], *, ours: str, peers: Mapping[str, str]) -> None:
    """Print the figures and, for each peer, the ratio of ours to it beside the target; JSON with `--json`."""
    ratios = {peer: figures[ours] / figures[peer] for peer in peers if peer in figures}
    if "--json" in sys.argv:
        print(json.dumps({"title": title, "unit": unit, "figures": dict(figures), "ratios": ratios}))
        return
    print(f"\n{title} ({unit})")
    for name, value in figures.items():
        ratio = f"   ours / {name} = {ratios[name]:.3f}   target {peers[name]}" if name in ratios else ""
        print(f"  {name:<32}{value:>12.2f}{ratio}")
