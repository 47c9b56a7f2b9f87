"""Makespan of real workflow traces, in multiples of the lower bound, against list scheduling and first-in first-out.

    python benchmarks/makespan.py [FOLDER] [--workers 4 8 16] [--json]

FOLDER holds traces in WfFormat 1.5 (default: ../shared/data/workflows next to the repository). The scheduler's
own core runs them on a virtual clock: with run times known, learned in one earlier run, and with nothing known.
The references are implemented here: list scheduling by critical path with run times known, and first-in first-out.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from aats_agent_task_scheduler import TaskScheduler

from aats_core.plans import read_plan
from aats_core.plans.graph import dependents, lower_bound, needs_of, upward_ranks
from aats_core.scheduling import Estimates
from aats_core.task import Plan

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "workflows"
OURS: tuple[Estimates, ...] = ("known", "learned", "none")
POLICIES = ("list", *OURS, "fifo")
WITHIN = {"known": 1.01, "learned": 1.05}
"""How much longer than under list scheduling a run may take, by what is known."""


class Trace(NamedTuple):
    """A workflow: its plan, and the run times by task name."""

    name: str
    plan: Plan
    seconds: dict[str, float]

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:
        return needs_of(self.plan.tasks)


def read(path: Path) -> Trace:
    """Return a trace; a task without a measured run time takes none."""
    source = read_plan(path, now=0.0)
    return Trace(
        path.stem, source.plan, {task.name: source.durations.get(task.name, 0.0) for task in source.plan.tasks}
    )


def list_schedule(trace: Trace, workers: int, *, urgency: Mapping[str, float]) -> float:
    """Return the makespan where a free worker always takes the ready task of the smallest urgency, then the oldest."""
    after = dependents(trace.needs)
    missing = {name: len(set(needs)) for name, needs in trace.needs.items()}
    came = 0
    ready: list[tuple[float, int, str]] = []
    running: list[tuple[float, str]] = []
    now = 0.0
    fresh = [name for name, count in missing.items() if count == 0]
    while fresh or ready or running:
        for name in fresh:
            came += 1
            heapq.heappush(ready, (urgency.get(name, 0.0), came, name))
        while ready and len(running) < workers:
            name = heapq.heappop(ready)[2]
            heapq.heappush(running, (now + trace.seconds[name], name))
        now = running[0][0]
        fresh = []
        while running and running[0][0] == now:
            for follower in after[heapq.heappop(running)[1]]:
                missing[follower] -= 1
                if missing[follower] == 0:
                    fresh.append(follower)
    return now


def makespan(trace: Trace, policy: str, workers: int) -> float:
    """Return how long a trace takes under one policy."""
    if policy == "fifo":
        return list_schedule(trace, workers, urgency={})
    if policy == "list":
        ranks = upward_ranks(trace.needs, trace.seconds)
        return list_schedule(trace, workers, urgency={name: -rank for name, rank in ranks.items()})
    known: Estimates = next(each for each in OURS if each == policy)
    return TaskScheduler.simulate(trace.plan, workers=workers, estimates=known, durations=trace.seconds).makespan


def measure(traces: list[Trace], counts: list[int]) -> dict[int, dict[str, dict[str, float]]]:
    """Return makespan by lower bound, by number of workers, trace and policy."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for workers in counts:
        for trace in traces:
            bound = lower_bound(trace.needs, trace.seconds, workers)
            ratios = {policy: makespan(trace, policy, workers) / bound if bound else 1.0 for policy in POLICIES}
            found.setdefault(workers, {})[trace.name] = ratios
    return found


def means(ratios: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the geometric means by policy."""
    return {
        policy: math.exp(math.fsum(math.log(each[policy]) for each in ratios.values()) / len(ratios))
        for policy in POLICIES
    }


def report(found: Mapping[int, Mapping[str, Mapping[str, float]]]) -> bool:
    """Print the table, and tell whether every figure is within its limit."""
    fine = True
    for workers, ratios in found.items():
        print(f"{workers} workers: makespan / lower bound")
        print(f"  {'':44}" + "".join(f"{policy:>10}" for policy in POLICIES))
        for name, each in ratios.items():
            print(f"  {name:44}" + "".join(f"{each[policy]:10.3f}" for policy in POLICIES))
        mean = means(ratios)
        print(f"  {'geometric mean':44}" + "".join(f"{mean[policy]:10.3f}" for policy in POLICIES))
        for policy, limit in WITHIN.items():
            ratio = mean[policy] / mean["list"]
            fine = fine and ratio <= limit
            print(f"  {policy}: {ratio:.3f} x list scheduling, at most {limit}: {'yes' if ratio <= limit else 'NO'}")
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--workers", nargs="+", type=int, default=[4, 8, 16])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.json")) if options.folder.is_dir() else []
    if not paths:
        print(f"skipped: there are no traces in {options.folder}", file=sys.stderr)
        return 0
    found = measure([read(path) for path in paths], options.workers)
    if options.json:
        print(json.dumps({"ratios": found, "means": {workers: means(ratios) for workers, ratios in found.items()}}))
        return 0
    return 0 if report(found) else 1


if __name__ == "__main__":
    sys.exit(main())
