"""Plans on a virtual clock."""

from __future__ import annotations

import math

import msgspec
import pytest
from aats_agent_task_scheduler import TaskScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from aats_core.errors import InvalidRequest
from aats_core.scheduling import Simulation
from aats_core.task import Plan, Task, When

DIAMOND = Plan(
    "diamond",
    (
        Task("a", "k"),
        Task("b", "k", needs=("a",)),
        Task("c", "other", needs=("a",)),
        Task("d", "k", needs=("b", "c")),
    ),
)
SECONDS = {"a": 1.0, "b": 4.0, "c": 2.0, "d": 3.0}


def simulate(plan: Plan, seconds: dict[str, float] | None = None, *, workers: int = 2, **options) -> Simulation:
    return TaskScheduler.simulate(plan, workers=workers, durations=seconds, **options)


def test_it_says_how_a_run_goes() -> None:
    found = simulate(DIAMOND, SECONDS, estimates="known")

    assert found.makespan == 8.0
    assert found.lower_bound == 8.0
    assert found.work == 10.0
    assert found.utilisation == 10.0 / 16.0
    assert found.speedup == 10.0 / 8.0
    assert found.critical_path == ("a", "b", "d")
    assert found.missed == ()
    assert found.skipped == ()
    assert [(task.name, task.start, task.end) for task in found.tasks] == [
        ("a", 0.0, 1.0),
        ("b", 1.0, 5.0),
        ("c", 1.0, 3.0),
        ("d", 5.0, 8.0),
    ]


def test_one_worker_takes_as_long_as_the_work() -> None:
    found = simulate(DIAMOND, SECONDS, workers=1)

    assert found.makespan == found.lower_bound == found.work == 10.0
    assert {task.worker for task in found.tasks} == {"worker-1"}


def test_deadlines_that_would_be_missed_are_named() -> None:
    plan = Plan(
        "p",
        (
            Task("early", "k", deadline=1_000_006.0),
            Task("late", "k", deadline=1_000_011.0),
            Task("plain", "k"),
        ),
        deadline=1_000_012.0,
    )

    found = simulate(plan, dict.fromkeys(("early", "late", "plain"), 6.0), workers=1, start=1_000_000.0)

    assert [task.name for task in found.tasks] == ["early", "late", "plain"]
    assert found.missed == ("late", "plain")
    assert [task.deadline for task in found.tasks] == [6.0, 11.0, 12.0]


def test_what_runs_only_on_failure_is_skipped_and_what_comes_after_follows_its_own_rule() -> None:
    plan = Plan(
        "p",
        (
            Task("work", "k"),
            Task("alarm", "k", needs=("work",), when=When.FAILED),
            Task("after-alarm", "k", needs=("alarm",)),
            Task("clean-up", "k", needs=("after-alarm", "work"), when=When.ENDED),
        ),
    )

    found = simulate(plan, {"work": 5.0, "alarm": 100.0, "after-alarm": 100.0, "clean-up": 1.0})

    assert [task.name for task in found.tasks] == ["work", "clean-up"]
    assert found.skipped == ("alarm", "after-alarm")
    assert found.makespan == found.lower_bound == 6.0
    assert found.critical_path == ("work", "clean-up")


def test_a_long_chain_of_skipped_tasks_is_no_problem() -> None:
    chain = [Task("t0", "k", when=When.FAILED), *(Task(f"t{n}", "k", needs=(f"t{n - 1}",)) for n in range(1, 3000))]

    assert len(simulate(Plan("p", tuple(chain))).skipped) == 3000


def test_run_times_may_be_zero() -> None:
    found = simulate(DIAMOND, dict.fromkeys(SECONDS, 0.0))

    assert (found.makespan, found.lower_bound, found.utilisation, found.speedup) == (0.0, 0.0, 1.0, 1.0)
    assert len(found.tasks) == 4


def test_a_plan_without_tasks_takes_no_time() -> None:
    found = simulate(Plan("empty", ()))

    assert (found.makespan, found.critical_path, found.tasks) == (0.0, (), ())


def test_where_a_run_time_is_missing_the_tasks_own_estimate_counts_then_a_second() -> None:
    found = simulate(Plan("p", (Task("a", "k", estimate=7.0), Task("b", "k"))), workers=1)

    assert found.makespan == 8.0


@pytest.mark.parametrize("workers", [0, -1])
def test_it_takes_a_worker(workers: int) -> None:
    with pytest.raises(InvalidRequest, match="at least one worker"):
        simulate(DIAMOND, SECONDS, workers=workers)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_a_run_time_is_a_length_of_time(seconds: float) -> None:
    with pytest.raises(InvalidRequest, match="run time of task b"):
        simulate(DIAMOND, {**SECONDS, "b": seconds})


def test_a_circle_is_refused() -> None:
    plan = Plan("p", (Task("a", "k", needs=("b",)), Task("b", "k", needs=("a",))))

    with pytest.raises(InvalidRequest, match="circle"):
        simulate(plan)


def test_each_worker_has_enough_of_every_resource_for_any_one_task() -> None:
    plan = Plan("p", (Task("big", "k", resources={"cpu": 64, "gpu": 1}), Task("odd", "k", resources={"licence": 3})))

    assert simulate(plan, workers=1).makespan == 2.0


def test_what_is_known_beforehand_decides_the_order() -> None:
    """Two workers, and one task that is as long as the five others together."""
    plan = Plan("p", (*(Task(f"short-{n}", "k") for n in range(5)), Task("long", "k")))
    seconds = {**{f"short-{n}": 1.0 for n in range(5)}, "long": 5.0}

    assert simulate(plan, seconds, estimates="known").makespan == 5.0
    assert simulate(plan, seconds, estimates="learned").makespan == 5.0
    assert simulate(plan, seconds, estimates="none").makespan == 7.0


def test_hints_of_the_plan_are_not_looked_at_where_nothing_is_to_be_known() -> None:
    plan = Plan("p", (*(Task(f"short-{n}", "k", estimate=1.0) for n in range(5)), Task("long", "k", estimate=5.0)))

    assert simulate(plan, estimates="none").makespan == 7.0


def test_a_scheduler_that_is_to_know_nothing_does_not_learn_on_the_way() -> None:
    names = [f"{name}-{n}" for n in range(1, 4) for name in ("quick", "slow")]
    plan = Plan("p", tuple(Task(name, "k") for name in names))
    seconds = {name: 9.0 if name.startswith("slow") else 1.0 for name in names}

    found = {known: simulate(plan, seconds, workers=1, estimates=known) for known in ("none", "learned")}

    assert [task.name for task in found["none"].tasks] == names
    assert [task.name for task in found["learned"].tasks] == [*names[1::2], *names[::2]]


def test_the_same_plan_gives_the_same_answer() -> None:
    plan = Plan("p", tuple(Task(f"t{n}", "k", needs=(f"t{n // 3}",) if n else ()) for n in range(200)))
    seconds = {f"t{n}": float(n * 37 % 11) for n in range(200)}

    assert simulate(plan, seconds, workers=7) == simulate(plan, seconds, workers=7)


def test_it_can_be_encoded() -> None:
    found = simulate(DIAMOND, SECONDS)

    assert msgspec.json.decode(msgspec.json.encode(found), type=Simulation) == found


@settings(max_examples=60, deadline=None)
@given(
    needs=st.lists(st.sets(st.integers(0, 30), max_size=3), max_size=20),
    data=st.data(),
    workers=st.integers(1, 5),
    estimates=st.sampled_from(["known", "learned", "none"]),
)
def test_no_schedule_breaks_the_rules_or_the_bounds(needs, data, workers: int, estimates) -> None:
    tasks = tuple(
        Task(f"t{n}", f"k{n % 2}", needs=tuple(f"t{need}" for need in sorted(each) if need < n))
        for n, each in enumerate(needs)
    )
    seconds = {task.name: data.draw(st.floats(0, 1e4)) for task in tasks}

    found = simulate(Plan("p", tasks), seconds, workers=workers, estimates=estimates)

    runs = {task.name: task for task in found.tasks}
    assert set(runs) == {task.name for task in tasks}
    assert all(runs[need].end <= runs[task.name].start for task in tasks for need in task.needs)
    by_worker: dict[str, float] = {}
    for run in sorted(found.tasks, key=lambda run: (run.start, run.end)):
        assert run.start >= by_worker.get(run.worker, 0.0)
        by_worker[run.worker] = run.end
    assert len(by_worker) <= workers
    # Graham's bound holds for every schedule in which no worker idles beside a ready task.
    slack = 1e-6 * (1 + found.work)
    assert found.lower_bound - slack <= found.makespan <= (2 - 1 / workers) * found.lower_bound + slack
