"""Memory of waiting tasks in the task scheduler, and the time of its decisions.

    python benchmarks/scheduler_memory.py [--tasks 100000] [--json]

Counts what the scheduler's core allocates (tracemalloc), with the messages that told it of the tasks let go.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import tracemalloc
from collections.abc import Iterator

import msgspec
from aats_agent_task_scheduler.core import Core
from aats_agent_task_scheduler.settings import SchedulerSettings

from aats_core.task import Assign, PlanAdded, Task, TaskEnded, TaskReady, WorkerStatus

LIMIT = 1024
WORKERS = 16
SLOTS = 4


def message(plan: int, tasks: int, *, linked: bool) -> bytes:
    """Return a plan as it comes from another process, so that nothing in it is shared with this one."""

    def needs(number: int) -> tuple[str, ...]:
        return (f"task-{number // 2:06d}", f"task-{number - 1:06d}") if linked and number > 1 else ()

    payload = {"command": ["python", "-m", "build"], "cwd": "/srv/build"}
    return msgspec.json.encode(
        PlanAdded(
            f"release-{plan:08x}",
            5,
            None,
            tuple(Task(f"task-{i:06d}", "shell.run", payload, needs(i), resources={"cpu": 1}) for i in range(tasks)),
        )
    )


def fill(core: Core, plans: int, tasks: int, *, linked: bool) -> None:
    """Tell the core of plans; unless they are linked, their tasks are ready at once."""
    for number in range(plans):
        added = msgspec.json.decode(message(number, tasks, linked=linked), type=PlanAdded)
        core.add_plan(added)
        if not linked:
            for task in added.tasks:
                core.ready(TaskReady(added.plan, task.name, 1), 0.0)


def memory(plans: int, tasks: int, *, linked: bool) -> float:
    """Return the bytes that one waiting task takes."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        core = Core(SchedulerSettings(), lease=30)
        fill(core, plans, tasks, linked=linked)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / (plans * tasks)
    finally:
        tracemalloc.stop()


def decisions(plans: int, tasks: int, *, rounds: int) -> Iterator[float]:
    """Yield the seconds of one decision after another: a task ends, the next takes its place."""
    core = Core(SchedulerSettings(), lease=30)
    fill(core, plans, tasks, linked=False)
    for number in range(WORKERS):
        core.worker_status(WorkerStatus(f"build-{number}", ("shell.run",), SLOTS, {"cpu": SLOTS}), 0.0)
    running: list[Assign] = core.decide(0.0)
    for _ in range(rounds):
        ended = running.pop()
        begin = time.perf_counter()
        core.ended(TaskEnded(ended.plan, ended.name, ended.attempt, ended.worker, 1.0, final=True))
        running += core.decide(0.0)
        yield time.perf_counter() - begin


def measure(tasks: int) -> dict[str, dict[str, float]]:
    """Return the figures by case."""
    found: dict[str, dict[str, float]] = {}
    cases = {"one plan, all ready": (1, False), "one plan, linked": (1, True), "plans of ten, all ready": (10, False)}
    for name, (size, linked) in cases.items():
        plans = 1 if size == 1 else tasks // size
        each = tasks // plans
        found[name] = {"bytes_per_task": memory(plans, each, linked=linked)}
        if not linked:
            times = sorted(decisions(plans, each, rounds=min(20_000, tasks // 2)))
            found[name]["decision_us_p50"] = times[len(times) // 2] * 1e6
            found[name]["decision_us_p99"] = times[len(times) * 99 // 100] * 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.tasks)
    if options.json:
        print(json.dumps({"tasks": options.tasks, "limit_bytes": LIMIT, "cases": found}))
        return
    print(f"{options.tasks} waiting tasks, at most {LIMIT} bytes each")
    for name, figures in found.items():
        print(f"  {name:26}" + "  ".join(f"{what} {value:8.1f}" for what, value in figures.items()))


if __name__ == "__main__":
    main()
