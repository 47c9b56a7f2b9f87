"""A plan run on a virtual clock, by the very core that schedules a real team."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

import msgspec

from aats_agent_task_scheduler.core import Core
from aats_agent_task_scheduler.estimates import Estimates
from aats_agent_task_scheduler.settings import SchedulerSettings
from aats_core.errors import InvalidRequest
from aats_core.plans.graph import critical_path, dependents, lower_bound, needs_of, topological_order
from aats_core.scheduling import Estimates as Knowledge
from aats_core.scheduling import SimulatedTask, Simulation
from aats_core.task import Assign, Plan, PlanAdded, Task, TaskEnded, TaskReady, When, WorkerStatus

PLAN = "simulated"


def simulate(
    plan: Plan, *, workers: int, estimates: Knowledge, durations: Mapping[str, float], start: float
) -> Simulation:
    """Carry out a plan and say how it went; see `aats_core.scheduling.Simulator`."""
    seconds = _seconds(plan, workers, durations)
    course = _Course(plan, seconds, knowledge=estimates, start=start)
    core = Core(SchedulerSettings(), lease=math.inf)
    if estimates == "learned":
        _Run(course, workers, core).carry_out()
        core = Core(SchedulerSettings(), lease=math.inf, estimates=Estimates(core.estimates.durations()))
    return course.judge(_Run(course, workers, core).carry_out(), workers)


def _seconds(plan: Plan, workers: int, durations: Mapping[str, float]) -> dict[str, float]:
    if workers < 1:
        raise InvalidRequest(f"workers is {workers}: a plan needs at least one worker")
    found = {}
    for task in plan.tasks:
        seconds = durations.get(task.name, 1.0 if task.estimate is None else task.estimate)
        if not 0 <= seconds < math.inf:
            raise InvalidRequest(f"the run time of task {task.name} is {seconds}: give seconds, zero or more")
        found[task.name] = seconds
    return found


class _Course:
    """What every run of the plan has in common: which tasks run, how long, what comes before what.

    Times are seconds since the start of the run.
    """

    def __init__(self, plan: Plan, seconds: dict[str, float], *, knowledge: Knowledge, start: float) -> None:
        self.knowledge: Knowledge = knowledge
        self.needs = needs_of(plan.tasks)
        self.runs = self._outcomes(plan)
        self.seconds = {name: seconds[name] if runs else 0.0 for name, runs in self.runs.items()}
        self.deadlines = {task.name: _earliest(start, task.deadline, plan.deadline) for task in plan.tasks}
        self.plan = PlanAdded(PLAN, plan.priority, None, tuple(self._told(task) for task in plan.tasks))

    def _told(self, task: Task) -> Task:
        """Return a task with what the scheduler may know of its run time."""
        estimate = self.seconds[task.name] if self.knowledge == "known" else None
        return msgspec.structs.replace(task, estimate=estimate, deadline=self.deadlines[task.name])

    def _outcomes(self, plan: Plan) -> dict[str, bool]:
        """Return whether each task runs where none fails."""
        whens = {task.name: task.when for task in plan.tasks}
        runs: dict[str, bool] = {}
        for name in topological_order(self.needs):
            done = all(runs.get(need, True) for need in self.needs[name])
            runs[name] = whens[name] is When.ENDED or (whens[name] is When.DONE and done)
        return runs

    def judge(self, tasks: list[SimulatedTask], workers: int) -> Simulation:
        """Return the figures of a run."""
        path = critical_path(self.needs, self.seconds).tasks
        work = math.fsum(self.seconds.values())
        makespan = max((task.end for task in tasks), default=0.0)
        return Simulation(
            workers=workers,
            estimates=self.knowledge,
            makespan=makespan,
            lower_bound=lower_bound(self.needs, self.seconds, workers),
            work=work,
            utilisation=work / (makespan * workers) if makespan else 1.0,
            speedup=work / makespan if makespan else 1.0,
            critical_path=tuple(name for name in path if self.runs[name]),
            missed=tuple(task.name for task in tasks if task.missed),
            skipped=tuple(task.name for task in self.plan.tasks if not self.runs[task.name]),
            tasks=tuple(tasks),
        )


class _Run:
    """One run: the core, the virtual clock, and what stands in for workers and project manager."""

    def __init__(self, course: _Course, workers: int, core: Core) -> None:
        self._course = course
        self._core = core
        self._finishes: list[tuple[float, int, Assign]] = []
        self._tasks: list[SimulatedTask] = []
        self._after = dependents(course.needs)
        self._missing = dict.fromkeys(course.needs, 0)
        for followers in self._after.values():
            for follower in followers:
                self._missing[follower] += 1
        self._hire(workers)

    def _hire(self, workers: int) -> None:
        tasks = self._course.plan.tasks
        kinds = tuple(sorted({task.kind for task in tasks}))
        resources: dict[str, float] = {}
        for task in tasks:
            for name, need in task.resources.items():
                resources[name] = max(need, resources.get(name, 0.0))
        for number in range(1, workers + 1):
            self._core.worker_status(WorkerStatus(f"worker-{number}", kinds, 1, resources), 0.0)

    def carry_out(self) -> list[SimulatedTask]:
        """Run every task and return them in the order of their starts."""
        self._core.add_plan(self._course.plan)
        self._release([name for name, count in self._missing.items() if count == 0], 0.0)
        self._assign(0.0)
        while self._finishes:
            now = self._finishes[0][0]
            while self._finishes and self._finishes[0][0] == now:
                assign = heapq.heappop(self._finishes)[2]
                self._end(assign)
                self._release(self._freed_by(assign.name), now)
            self._assign(now)
        return self._tasks

    def _release(self, names: list[str], now: float) -> None:
        for name in names:  # grows by what tasks set free that do not run
            if self._course.runs[name]:
                self._core.ready(TaskReady(PLAN, name, 1), now)
            else:
                self._core.ended(TaskEnded(PLAN, name, 0, "", None, final=True))
                names += self._freed_by(name)

    def _freed_by(self, name: str) -> list[str]:
        freed = []
        for follower in self._after[name]:
            self._missing[follower] -= 1
            if self._missing[follower] == 0:
                freed.append(follower)
        return freed

    def _assign(self, now: float) -> None:
        for assign in self._core.decide(now):
            end = now + self._course.seconds[assign.name]
            heapq.heappush(self._finishes, (end, len(self._tasks), assign))
            deadline = self._course.deadlines[assign.name]
            self._tasks.append(SimulatedTask(assign.name, assign.worker, now, end, deadline))

    def _end(self, assign: Assign) -> None:
        seconds = self._course.seconds[assign.name] if self._course.knowledge == "learned" else None
        self._core.ended(TaskEnded(PLAN, assign.name, assign.attempt, assign.worker, seconds, final=True))


def _earliest(start: float, *times: float | None) -> float | None:
    return min((time - start for time in times if time is not None), default=None)
