"""`aats simulate`: how long a plan would take, by the scheduler that would run it, on a clock of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter

from aats_core.cli.options import Inputs, Json, PlanPath
from aats_core.cli.output import as_data, print_facts, print_json

if TYPE_CHECKING:
    from aats_core.scheduling import SimulatedTask, Simulation, Simulator

_NAMED = 12
_CHART_TASKS = 40
_CHART_WIDTH = 50


def simulate(
    plan: PlanPath,
    /,
    *,
    workers: Annotated[int, Parameter(help="How many workers there are, each running one task at a time.")],
    estimates: Annotated[
        Literal["known", "learned", "none"],
        Parameter(help="What the scheduler knows of run times: each task's own, what one earlier run taught, nothing."),
    ] = "learned",
    scheduler: Annotated[str, Parameter(help="The scheduler's plugin.")] = "task-scheduler",
    input: Inputs = None,
    json: Json = False,
) -> None:
    """Say how long a plan would take with so many workers, what would be late, and what nothing could make quicker.

    A task takes as long as its estimate says, else one second; a task of a WfFormat trace as long as was measured.
    """
    from aats_core.cli.planfile import load_source

    now = time.time()
    source = load_source(plan, now=now, inputs=input or ())
    found = _simulator(scheduler).simulate(
        source.plan, workers=workers, estimates=estimates, durations=source.durations, start=now
    )
    if json:
        print_json(_as_data(found))
    else:
        _print(source.plan.name, found)


def _simulator(name: str) -> type[Simulator]:
    from aats_core.cli.failure import UsageError
    from aats_core.plugins import PluginKind, discover

    found = discover().load(PluginKind.AGENT, name)
    if not hasattr(found, "simulate"):
        raise UsageError(f"--scheduler {name}: this plugin cannot simulate")
    return cast("type[Simulator]", found)


def _as_data(found: Simulation) -> dict[str, Any]:
    data: dict[str, Any] = as_data(found)
    data["missed_deadlines"] = data.pop("missed")
    return data


def _print(name: str, found: Simulation) -> None:
    from aats_core.cli.words import duration, plural

    chain = found.critical_path
    more = f" … {len(chain) - _NAMED} more" if len(chain) > _NAMED else ""
    over = found.makespan / found.lower_bound - 1 if found.lower_bound else 0.0
    print_facts(
        [
            ("Plan", f"{name}, {plural(len(found.tasks), 'task')} on {plural(found.workers, 'worker')}"),
            ("Makespan", f"{duration(found.makespan)}, {over:.1%} over the lower bound"),
            ("Lower bound", duration(found.lower_bound)),
            ("Work", f"{duration(found.work)}, {found.speedup:.2f} times as quick as one worker"),
            ("Utilisation", f"{found.utilisation:.1%}"),
            ("Critical path", f"{plural(len(chain), 'task')}: {' → '.join(chain[:_NAMED])}{more}"),
            ("Late", ", ".join(found.missed[:_NAMED]) + (" …" if len(found.missed) > _NAMED else "") or "nothing"),
            *([("Not run", f"{', '.join(found.skipped)} (nothing fails here)")] if found.skipped else []),
        ]
    )
    if 0 < len(found.tasks) <= _CHART_TASKS and found.makespan > 0:
        print("\n".join(_chart(found.tasks, found.makespan)))


def _chart(tasks: tuple[SimulatedTask, ...], makespan: float) -> Iterator[str]:
    names = max(min(max(len(task.name) for task in tasks), 24), 4)
    workers = max(len(task.worker) for task in tasks)
    for task in sorted(tasks, key=lambda task: (task.start, task.end)):
        first = round(task.start / makespan * _CHART_WIDTH)
        length = max(round(task.end / makespan * _CHART_WIDTH) - first, 1)
        first = min(first, _CHART_WIDTH - length)
        bar = f"{' ' * first}{'█' * length}{' ' * (_CHART_WIDTH - first - length)}"
        name = task.name if len(task.name) <= names else f"{task.name[: names - 1]}…"
        yield f"{name:<{names}}  {task.worker:<{workers}}  {bar}{' late' if task.missed else ''}".rstrip()
