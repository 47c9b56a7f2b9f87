"""What the command line asks of a scheduler plugin: to carry out a plan on a virtual clock, and say how it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from aats_core.task import Plan

Estimates = Literal["known", "learned", "none"]
"""What a simulated scheduler knows of run times beforehand.

`known`: every task's own run time. `learned`: what it has kept from one earlier run of the same plan, that is means
per task kind and name without its trailing number; it goes on learning. `none`: nothing, and it learns nothing.
"""


class SimulatedTask(msgspec.Struct, frozen=True):
    """One task of a simulated run: on which worker, and from when to when (seconds since the start of the run)."""

    name: str
    worker: str
    start: float
    end: float
    deadline: float | None = None

    @property
    def missed(self) -> bool:
        """Whether it ended after its deadline."""
        return self.deadline is not None and self.end > self.deadline


class Simulation(msgspec.Struct, frozen=True):
    """How a simulated run went; times are seconds, those of `tasks` since the start of the run.

    `makespan` is the end of the last task. `lower_bound` is what no schedule can beat: the larger of the critical
    path's length and `work / workers`. `utilisation` is the share of the workers' time in which they ran something,
    `speedup` how much faster than one worker the run was; both are 1.0 for a plan that takes no time.
    `critical_path` names the tasks of the longest chain of needs, first to last. `missed` names the tasks that ended
    after their deadline (the earlier of their own and the plan's); `skipped` those that did not run, because in a
    simulation no task fails.
    """

    workers: int
    estimates: Estimates
    makespan: float
    lower_bound: float
    work: float
    utilisation: float
    speedup: float
    critical_path: tuple[str, ...]
    missed: tuple[str, ...]
    skipped: tuple[str, ...]
    tasks: tuple[SimulatedTask, ...]


class Simulator(Protocol):
    """A scheduler plugin's class that can simulate; found by its entry point."""

    @classmethod
    def simulate(
        cls,
        plan: Plan,
        *,
        workers: int,
        estimates: Estimates = "learned",
        durations: Mapping[str, float] | None = None,
        start: float = 0.0,
    ) -> Simulation:
        """Run the plan on `workers` equal workers, each with one slot, every kind and resource enough for any one task.

        `durations` holds the true run times by task name, in seconds, zero allowed; where a task is missing its own
        `estimate` counts, else one second. `start` is the Unix time at which the run begins, for the plan's deadlines.
        The same arguments give the same answer. Raises `InvalidRequest` where `workers` is below one, a run time is
        negative or not finite, or tasks need each other in a circle.
        """
