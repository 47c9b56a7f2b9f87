"""What can be asked of plans and tasks, active and ended ones alike."""

from __future__ import annotations

from typing import Any

import pytest

from aats_core.errors import NotFound
from aats_core.operations import PlanQuery, TaskQuery
from aats_core.task import Outcome, PlanState, Task, TaskState

A, B = Task("a", "k"), Task("b", "k", needs=("a",))


async def three_plans(office: Any) -> list[str]:
    """Submit three plans a second apart: one that is done, one that failed, one that runs."""
    plans = []
    for name, outcome in (("first", Outcome.DONE), ("second", Outcome.FAILED), ("third", None)):
        plan = await office.submit(A, B, name=name)
        if outcome is not None:
            await office.run(plan, "a", outcome=outcome)
        if outcome is Outcome.DONE:
            await office.run(plan, "b")
        plans.append(plan)
        await office.clock.advance(1)
    await office.rest()
    return plans


def test_plans_are_listed_newest_first_with_the_present_counts(play) -> None:
    async def scenario(office: Any) -> None:
        first, second, third = await three_plans(office)
        found = await office.manager.list_plans(PlanQuery())
        assert [(record.id, record.state.value, record.counts) for record in found] == [
            (third, "active", {"ready": 1, "waiting": 1}),
            (second, "failed", {"failed": 1, "skipped": 1}),
            (first, "done", {"done": 2}),
        ]

    play(scenario)


def test_plans_are_listed_by_state_and_up_to_a_limit(play) -> None:
    async def scenario(office: Any) -> None:
        first, second, third = await three_plans(office)
        for state, plans in ((PlanState.ACTIVE, [third]), (PlanState.DONE, [first]), (PlanState.CANCELLED, [])):
            assert [record.id for record in await office.manager.list_plans(PlanQuery(state))] == plans
        assert [record.id for record in await office.manager.list_plans(PlanQuery(limit=2))] == [third, second]

    play(scenario)


def test_tasks_are_listed_in_the_order_of_their_plan_newest_plan_first(play) -> None:
    async def scenario(office: Any) -> None:
        first, second, third = await three_plans(office)
        for query, ids in (
            (TaskQuery(), [f"{plan}/{name}" for plan in (third, second, first) for name in "ab"]),
            (TaskQuery(plan=second), [f"{second}/a", f"{second}/b"]),
            (TaskQuery(state=TaskState.DONE), [f"{first}/a", f"{first}/b"]),
            (TaskQuery(plan=third, state=TaskState.WAITING), [f"{third}/b"]),
            (TaskQuery(limit=3), [f"{third}/a", f"{third}/b", f"{second}/a"]),
        ):
            assert [task.id for task in await office.manager.list_tasks(query)] == ids

    play(scenario)


def test_the_name_of_a_plan_stands_for_the_newest_of_that_name(play) -> None:
    async def scenario(office: Any) -> None:
        old = await office.submit(A, name="nightly")
        await office.run(old, "a")
        await office.clock.advance(1)
        new = await office.submit(A, name="nightly")
        assert (await office.manager.show_plan("nightly")).plan.id == new
        assert (await office.manager.show_task("nightly/a")).id == f"{new}/a"
        assert [task.id for task in await office.manager.list_tasks(TaskQuery("nightly"))] == [f"{new}/a"]
        await office.run(new, "a")
        assert (await office.manager.show_plan("nightly")).plan.state == "done"
        assert (await office.manager.show_plan(old)).plan.id == old

    play(scenario)


def test_an_ended_plan_is_shown_as_it_was(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A, B, inputs={"x": 1})
        await office.run(plan, "a", output={"n": 1})
        running = await office.task(plan, "a")
        await office.run(plan, "b")
        detail = await office.manager.show_plan(plan)
        assert (detail.plan.state, detail.plan.inputs, detail.plan.counts) == ("done", {"x": 1}, {"done": 2})
        assert [task.task for task in detail.tasks] == [A, B]
        assert detail.tasks[0] == running

    play(scenario)


def test_a_plan_can_be_read_from_the_store_where_nothing_runs(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A, B)
        await office.run(plan, "a")
        idle = office._make()
        detail = await idle.read_plan(plan)
        assert [(task.task.name, task.state.value) for task in detail.tasks] == [("a", "done"), ("b", "waiting")]
        with pytest.raises(NotFound):
            await idle.read_plan("ghost")

    play(scenario)


def test_what_is_not_there_is_not_found(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A)
        for ask in (
            office.manager.show_plan("ghost"),
            office.manager.list_tasks(TaskQuery("ghost")),
            office.manager.show_task("ghost/a"),
            office.manager.show_task(f"{plan}/ghost"),
            office.manager.show_task(plan),
        ):
            with pytest.raises(NotFound, match="there is no"):
                await ask

    play(scenario)
