"""What holds whatever plans, workers and events there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from aats_agent_task_scheduler.core import Core
from aats_agent_task_scheduler.settings import SchedulerSettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aats_core.task import Assign, PlanAdded, PlanRemoved, Task, TaskEnded, TaskReady, TaskRunning, WorkerStatus

NO_END = 1e9
SLOW = [HealthCheck.too_slow]  # a busy machine proves nothing
KINDS = ("x", "y")
DEADLINES = st.one_of(st.none(), st.integers(0, 50).map(float))


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Task, ...]:
    found: list[Task] = []
    for number in range(draw(st.integers(1, 6))):
        needs = draw(st.sets(st.sampled_from([task.name for task in found]), max_size=3)) if found else ()
        found.append(
            Task(
                f"t{number}",
                draw(st.sampled_from(KINDS)),
                needs=tuple(sorted(needs)),
                priority=draw(st.one_of(st.none(), st.integers(1, 9))),
                deadline=draw(DEADLINES),
                estimate=draw(st.one_of(st.none(), st.integers(0, 9).map(float))),
                resources=draw(st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.integers(0, 3).map(float))),
            )
        )
    return tuple(found)


PLANS = st.lists(st.builds(PlanAdded, st.just(""), st.integers(1, 9), DEADLINES, tasks()), min_size=1, max_size=3).map(
    lambda plans: [PlanAdded(f"p{n}", plan.priority, plan.deadline, plan.tasks) for n, plan in enumerate(plans)]
)
WORKERS = st.lists(
    st.builds(
        WorkerStatus,
        st.just(""),
        st.sampled_from([("x",), ("y",), KINDS]),
        st.integers(0, 3),
        st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.integers(0, 4).map(float)),
    ),
    max_size=3,
).map(
    # The last one can run anything, so that every plan can come to its end.
    lambda given: [
        *(WorkerStatus(f"w{n}", each.kinds, each.slots, each.resources) for n, each in enumerate(given)),
        WorkerStatus("all", KINDS, 2, {"cpu": 3.0, "gpu": 3.0}),
    ]
)


class Team:
    """Carries plans out as project manager and workers would, and checks every decision on the way."""

    def __init__(self, plans: list[PlanAdded], workers: list[WorkerStatus], *, greedy: bool) -> None:
        self.plans = {plan.plan: plan for plan in plans}
        self.workers = {worker.worker: worker for worker in workers}
        self.tasks = {f"{plan.plan}/{task.name}": task for plan in plans for task in plan.tasks}
        self.greedy = greedy
        self.now = 0.0
        self.ready: dict[str, int] = {}
        self.running: dict[str, Assign] = {}
        self.attempts: Counter[str] = Counter()
        self.ended: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Start a scheduler that knows nothing, and tell it everything."""
        never = NO_END if self.greedy else 3.0
        self.core = Core(SchedulerSettings(ageing=never, reserve_after=never), lease=30.0)
        for plan in self.plans.values():
            ended = tuple(task.name for task in plan.tasks if f"{plan.plan}/{task.name}" in self.ended)
            self.core.add_plan(PlanAdded(plan.plan, plan.priority, plan.deadline, plan.tasks, ended))
        for each in self.running.values():
            self.core.running(TaskRunning(each.plan, each.name, each.attempt, each.worker), self.now)
        for task, attempt in self.ready.items():
            self.core.ready(TaskReady(*task.split("/"), attempt), self.now)
        self.beat()
        self.release()

    def beat(self) -> None:
        """Send every worker's heartbeat."""
        for name, worker in self.workers.items():
            held = tuple((task, each.attempt) for task, each in self.running.items() if each.worker == name)
            self.core.worker_status(WorkerStatus(name, worker.kinds, worker.slots, worker.resources, held), self.now)

    def release(self) -> None:
        """Call ready what needs nothing more."""
        for task_id, task in self.tasks.items():
            plan = task_id.partition("/")[0]
            begun = task_id in self.ready or task_id in self.running or task_id in self.ended
            if not begun and all(f"{plan}/{need}" in self.ended for need in task.needs):
                self.call(task_id)

    def call(self, task_id: str) -> None:
        self.attempts[task_id] += 1
        self.ready[task_id] = self.attempts[task_id]
        self.core.ready(TaskReady(*task_id.split("/"), self.attempts[task_id]), self.now)

    def decide(self) -> None:
        assert self.core.expire(self.now) == []
        before = set(self.ready)
        decided = self.core.decide(self.now)
        for each in decided:
            task_id = f"{each.plan}/{each.name}"
            assert self.ready.pop(task_id, None) == each.attempt, "assigned twice, too early, or as another attempt"
            assert self.tasks[task_id].kind in self.workers[each.worker].kinds
            self.running[task_id] = each
        self.check_capacity()
        self.check_urgency({f"{each.plan}/{each.name}" for each in decided}, before)
        if self.greedy:
            assert not [task for task in self.ready if self.could_run(task)], "a worker idles beside a task that fits"
        assert all(self.core.explain(task, self.now) for task in self.tasks)

    def check_capacity(self) -> None:
        for name, worker in self.workers.items():
            held = [self.tasks[task] for task, each in self.running.items() if each.worker == name]
            assert len(held) <= worker.slots
            for resource in ("cpu", "gpu"):
                used = sum(task.resources.get(resource, 0.0) for task in held)
                assert used <= worker.resources.get(resource, 0.0)

    def check_urgency(self, decided: set[str], before: set[str]) -> None:
        """No task overtakes one that asks for the same and is of a more urgent priority."""
        if not self.greedy:
            return  # ageing is on
        for winner in decided:
            for loser in before - decided:
                one, other = self.tasks[winner], self.tasks[loser]
                if (one.kind, self.needed(winner)) == (other.kind, self.needed(loser)):
                    assert self.priority(winner) <= self.priority(loser)

    def needed(self, task_id: str) -> dict[str, float]:
        return {name: need for name, need in self.tasks[task_id].resources.items() if need > 0}

    def priority(self, task_id: str) -> int:
        own = self.tasks[task_id].priority
        return self.plans[task_id.partition("/")[0]].priority if own is None else own

    def could_run(self, task_id: str) -> bool:
        task = self.tasks[task_id]
        for name, worker in self.workers.items():
            held = [self.tasks[other] for other, each in self.running.items() if each.worker == name]
            if (
                task.kind in worker.kinds
                and len(held) < worker.slots
                and all(
                    need + sum(other.resources.get(resource, 0.0) for other in held)
                    <= worker.resources.get(resource, 0.0)
                    for resource, need in self.needed(task_id).items()
                )
            ):
                return True
        return False

    def end(self, task_id: str, *, final: bool) -> None:
        each = self.running.pop(task_id)
        self.core.ended(TaskEnded(each.plan, each.name, each.attempt, each.worker, self.now % 7, final))
        if not final:
            self.call(task_id)
            return
        self.ended.add(task_id)
        plan = self.plans[each.plan]
        if all(f"{each.plan}/{task.name}" in self.ended for task in plan.tasks):
            self.core.remove_plan(PlanRemoved(each.plan).plan)
        self.release()


@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(data=st.data(), plans=PLANS, workers=WORKERS)
def test_every_task_runs_once_its_needs_have_ended_and_within_what_workers_have(
    data: st.DataObject, plans: list[PlanAdded], workers: list[WorkerStatus]
) -> None:
    team = Team(plans, workers, greedy=data.draw(st.booleans()))
    failures = 10
    while len(team.ended) < len(team.tasks):
        team.decide()
        assert team.running, "nothing runs although something is left to do"
        what = data.draw(st.sampled_from(["end", "end", "end", "fail", "restart", "beat", "tell again"]))
        team.now += data.draw(st.integers(0, 5))
        team.beat()
        if what in ("end", "fail"):
            final = what == "end" or failures == 0
            failures -= not final
            team.end(data.draw(st.sampled_from(sorted(team.running))), final=final)
        elif what == "restart":
            team.begin()
        elif what == "tell again":
            for task_id, attempt in team.ready.items():
                team.core.ready(TaskReady(*task_id.split("/"), attempt), team.now)
    team.decide()
    assert not team.running


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    slots=st.integers(1, 6),
    data=st.data(),
)
def test_plans_of_equal_urgency_never_differ_by_more_than_one_worker(
    counts: list[int], slots: int, data: st.DataObject
) -> None:
    """As long as they have tasks that wait; and one that has no worker waits for one turn of each other at most."""
    core = Core(SchedulerSettings(), lease=30.0)
    waiting = {f"p{n}": count for n, count in enumerate(counts)}
    for plan, count in waiting.items():
        core.add_plan(PlanAdded(plan, 5, None, tuple(Task(f"t{n}", "k") for n in range(count))))
        for number in range(count):
            core.ready(TaskReady(plan, f"t{number}", 1), 0.0)
    core.worker_status(WorkerStatus("w", ("k",), slots), 0.0)
    running: Counter[str] = Counter()
    passed_over = Counter[str]()
    held: list[Assign] = []
    while sum(waiting.values()):
        for each in core.decide(0.0):
            fewest = min(running[plan] for plan, count in waiting.items() if count)
            assert running[each.plan] == fewest
            passed_over.update(plan for plan, count in waiting.items() if count and not running[plan])
            passed_over[each.plan] = 0
            assert max(passed_over.values()) < len(counts)
            running[each.plan] += 1
            waiting[each.plan] -= 1
            held.append(each)
        ended = held.pop(data.draw(st.integers(0, len(held) - 1)))
        running[ended.plan] -= 1
        core.ended(TaskEnded(ended.plan, ended.name, 1, "w", None, final=True))


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(data=st.data(), plans=PLANS)
def test_nothing_that_is_said_in_any_order_makes_it_raise(data: st.DataObject, plans: list[PlanAdded]) -> None:
    """Messages may be lost, come twice, or come late."""
    core = Core(SchedulerSettings(ageing=3.0, reserve_after=3.0), lease=5.0)
    now = 0.0
    for word in data.draw(st.lists(words(plans), max_size=50)):
        now += data.draw(st.sampled_from([0.0, 0.5, 3.0]))
        word(core, now)
        core.decide(now)
        assert core.expire(now) is not None
        assert all(core.explain(f"{plan.plan}/{task.name}", now) for plan in plans for task in plan.tasks)
        due = core.wakeup()
        assert due is None or due > now


def words(plans: list[PlanAdded]) -> st.SearchStrategy[Callable[[Core, float], None]]:
    """Return all that can be said to a core, right or wrong."""
    ids = st.sampled_from([*(plan.plan for plan in plans), "ghost"])
    names = st.sampled_from(["t0", "t1", "t2", "ghost"])
    attempts = st.integers(0, 3)
    workers = st.sampled_from(["a", "b"])
    times = st.one_of(st.none(), st.floats(0, 90))
    held = st.lists(st.tuples(st.builds("{}/{}".format, ids, names), attempts), max_size=3).map(tuple)
    statuses = st.builds(
        WorkerStatus, workers, st.just(KINDS), st.integers(0, 3), st.just({"cpu": 3.0}), held, st.booleans()
    )
    return st.one_of(
        st.builds(lambda plan: lambda core, now: core.add_plan(plan), st.sampled_from(plans)),
        st.builds(lambda plan: lambda core, now: core.remove_plan(plan), ids),
        st.builds(
            lambda word: lambda core, now: core.ready(word, now), st.builds(TaskReady, ids, names, attempts, times)
        ),
        st.builds(
            lambda word: lambda core, now: core.running(word, now),
            st.builds(TaskRunning, ids, names, attempts, workers),
        ),
        st.builds(
            lambda word: lambda core, now: core.ended(word),
            st.builds(TaskEnded, ids, names, attempts, workers, times, st.booleans()),
        ),
        st.builds(lambda word: lambda core, now: core.worker_status(word, now), statuses),
        st.builds(lambda name: lambda core, now: core.worker_gone(name, now), workers),
    )
