"""The graph of a plan, and its ranks."""

from __future__ import annotations

import math

import pytest
from aats_agent_task_scheduler.estimates import Estimates
from aats_agent_task_scheduler.plan import NEVER, PlanGraph
from hypothesis import given, settings
from hypothesis import strategies as st

from aats_core.plans.graph import needs_of, upward_ranks
from aats_core.task import PlanAdded, Task, When


def graph(*tasks: Task, deadline: float | None = None) -> PlanGraph:
    plan = PlanGraph(PlanAdded("p", 5, deadline, tasks), 0)
    plan.rank(Estimates())
    return plan


def ranks(plan: PlanGraph) -> dict[str, float]:
    return {name: node.rank for name, node in plan.nodes.items()}


def latest(plan: PlanGraph) -> dict[str, float]:
    return {name: node.latest for name, node in plan.nodes.items()}


def test_a_rank_is_the_length_of_the_longest_chain_that_follows() -> None:
    plan = graph(
        Task("a", "k", estimate=1),
        Task("b", "k", needs=("a",), estimate=10),
        Task("c", "k", needs=("a",), estimate=2),
        Task("d", "k", needs=("b", "c"), estimate=5),
    )

    assert ranks(plan) == {"a": 16, "b": 15, "c": 7, "d": 5}


def test_tasks_may_come_in_any_order() -> None:
    plan = graph(Task("c", "k", needs=("b",)), Task("a", "k"), Task("b", "k", needs=("a",)))

    assert ranks(plan) == {"a": 3, "b": 2, "c": 1}


def test_what_runs_on_failure_does_not_make_its_needs_more_urgent() -> None:
    plan = graph(Task("a", "k"), Task("alarm", "k", needs=("a",), when=When.FAILED, estimate=500, deadline=10.0))

    assert ranks(plan)["a"] == 1
    assert latest(plan)["a"] == NEVER


def test_a_deadline_leaves_time_for_what_comes_after() -> None:
    plan = graph(
        Task("a", "k", estimate=1),
        Task("b", "k", needs=("a",), estimate=10),
        Task("c", "k", needs=("b",), estimate=5, deadline=100.0),
        Task("free", "k"),
    )

    assert latest(plan) == {"a": 85, "b": 95, "c": 100, "free": NEVER}


@pytest.mark.parametrize(("own", "whole", "expected"), [(50.0, 80.0, 50.0), (80.0, 50.0, 50.0), (None, 50.0, 50.0)])
def test_the_earlier_of_two_deadlines_counts(own: float | None, whole: float, expected: float) -> None:
    assert latest(graph(Task("a", "k", deadline=own), deadline=whole)) == {"a": expected}


def test_a_circle_and_a_missing_need_are_survived() -> None:
    """The project manager refuses such plans; nothing here hangs if one gets through."""
    plan = graph(Task("a", "k", needs=("b",)), Task("b", "k", needs=("a",)), Task("c", "k", needs=("ghost", "a")))

    assert all(math.isfinite(rank) for rank in ranks(plan).values())


def test_resources_that_are_nothing_are_left_out() -> None:
    plan = graph(Task("a", "k", resources={"gpu": 0, "cpu": 2, "bad": math.nan, "odd": -1}))

    assert plan.nodes["a"].resources == (("cpu", 2),)


def test_a_chain_of_any_length_can_be_ranked() -> None:
    count = 20_000
    plan = graph(*(Task(f"t{i}", "k", needs=(f"t{i - 1}",) if i else ()) for i in range(count)))

    assert plan.nodes["t0"].rank == count


def test_ranks_follow_what_is_learned() -> None:
    estimates = Estimates()
    plan = PlanGraph(PlanAdded("p", 5, None, (Task("a", "k"), Task("b", "k", needs=("a",)))), 0)
    plan.rank(estimates)
    assert not plan.outdated(estimates)

    estimates.learn("k", "b", "b", 100.0)
    plan.learned += 1

    assert plan.outdated(estimates)
    plan.rank(estimates)
    assert ranks(plan) == {"a": 200.0, "b": 100.0}
    assert not plan.outdated(estimates)


@settings(deadline=None)
@given(st.data())
def test_ranks_are_the_upward_ranks_of_list_scheduling(data: st.DataObject) -> None:
    tasks = []
    for number in range(data.draw(st.integers(1, 12))):
        needs = data.draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        estimate = data.draw(st.floats(0, 100))
        tasks.append(Task(f"t{number}", "k", needs=tuple(f"t{need}" for need in needs), estimate=estimate))
    expected = upward_ranks(needs_of(tasks), {task.name: task.estimate or 0.0 for task in tasks})

    assert ranks(graph(*data.draw(st.permutations(tasks)))) == pytest.approx(expected)
