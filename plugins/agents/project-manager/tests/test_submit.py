"""Plans that come in: what is refused before anything is stored, and what is durable before it is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aats_core.errors import Refused, StoreUnavailable
from aats_core.operations import PlanQuery, Submission
from aats_core.policy import acting_for
from aats_core.task import Plan, PlanAdded, PlanState, Retries, Task, TaskReady, When


async def refusal(office: Any, plan: Plan) -> str:
    with pytest.raises(Refused) as raised:
        await office.manager.submit(Submission(plan))
    return "\n".join(raised.value.problems)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan("p", ()), "there are no tasks"),
        (Plan("", (Task("a", "k"),)), "cannot be a plan's name"),
        (Plan("p", (Task("a b/c", "k"),)), "cannot be a task's name"),
        (Plan("p", (Task("a", "k"), Task("a", "k"))), "2 tasks have this name"),
        (Plan("p", (Task("a", "kk"),)), "nobody runs tasks of kind 'kk'"),
        (Plan("p", (Task("a", "k", needs=("b",)),)), "no task is named 'b'"),
        (Plan("p", (Task("a", "k", needs=("a",)),)), "cannot need itself"),
        (Plan("p", (Task("a", "k", needs=("b",)), Task("b", "k", needs=("a",)))), "in a circle"),
        (Plan("p", (Task("a", "k", when=When.FAILED),)), "the task has none"),
        (Plan("p", (Task("a", "k"),), priority=0), "priority"),
        (Plan("p", (Task("a", "k", timeout=-1.0),)), "timeout"),
        (Plan("p", (Task("a", "k", retries=Retries(limit=-1)),)), "limit"),
        (Plan("p", (Task("a", "k"),), deadline=1_600_000_000.0), "deadline"),
        (Plan("p", (Task("a", "k", estimate=60.0),), deadline=1_700_000_030.0), "deadline"),
        (Plan("p", (Task("a", "k", payload={"x": "{{ tasks.b.output }}"}),)), "tasks.b"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_and_nothing_of_it_stored(play, plan: Plan, words: str) -> None:
    async def scenario(office: Any) -> None:
        assert words in await refusal(office, plan)
        assert office.gate.tried == 0
        assert await office.records.count("plans") == await office.records.count("tasks") == 0
        await office.rest()
        assert office.context.sent == []

    play(scenario)


def test_all_problems_are_told_at_once(play) -> None:
    async def scenario(office: Any) -> None:
        plan = Plan("p", (Task("a", "other"), Task("b", "k", needs=("c",)), Task("d", "k", timeout=-1.0)))
        problems = await refusal(office, plan)
        assert all(words in problems for words in ("'other'", "'c'", "timeout"))

    play(scenario)


def test_it_answers_once_the_plan_is_durable_and_not_before(play) -> None:
    async def scenario(office: Any) -> None:
        office.gate.shut()
        answer = await office.manager.submit(Submission(Plan("p", (Task("a", "k"),))))
        await asyncio.sleep(0.01)
        assert not answer.done()
        assert office.context.sent == []
        assert await office.manager.list_plans(PlanQuery()) == []

        office.gate.open()
        record = await answer
        assert await office.records.count("plans", {"_id": record.id, "state": "active"}) == 1
        await office.rest()
        assert office.ready() == [("a", 1)]

    play(scenario)


def test_the_plan_and_all_its_tasks_are_stored_in_one_write(play) -> None:
    async def scenario(office: Any) -> None:
        await office.submit(*(Task(f"t{n}", "k") for n in range(1000)))
        assert [len(commit) for commit in office.gate.commits] == [1]

    play(scenario)


def test_the_scheduler_hears_of_the_whole_plan_before_it_hears_what_is_ready(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(Task("a", "k"), Task("b", "k", needs=("a",)), priority=2, deadline=1_800_000_000.0)
        added, ready = office.told(PlanAdded, TaskReady)
        assert (added.plan, added.priority, added.deadline, added.ended) == (plan, 2, 1_800_000_000.0, ())
        assert [task.name for task in added.tasks] == ["a", "b"]
        assert (ready.plan, ready.name, ready.attempt, ready.not_before) == (plan, "a", 1, None)

    play(scenario)


def test_the_record_says_who_submitted_what_and_when(play) -> None:
    async def scenario(office: Any) -> None:
        with acting_for("ada"):
            plan = await office.submit(Task("a", "k"), name="Release-1.4", inputs={"x": 1}, description="the next one")
        record = (await office.manager.show_plan(plan)).plan
        assert plan.startswith("release-1.4-")
        assert (record.name, record.subject, record.inputs, record.description) == (
            "Release-1.4",
            "ada",
            {"x": 1},
            "the next one",
        )
        assert (record.submitted, record.state, record.counts) == (
            office.clock.time(),
            PlanState.ACTIVE,
            {"ready": 1},
        )

    play(scenario)


def test_plans_submitted_at_the_same_moment_have_ids_of_their_own(play) -> None:
    async def scenario(office: Any) -> None:
        assert len({await office.submit(Task("a", "k")) for _ in range(50)}) == 50

    play(scenario)


def test_a_store_that_is_away_refuses_a_plan_and_takes_it_later(play) -> None:
    async def scenario(office: Any) -> None:
        office.cut_off()
        with pytest.raises(StoreUnavailable):
            await office.submit(Task("a", "k"), key="once")
        assert await office.records.count("plans") == 0

        office.gate.error = None
        plan = await office.submit(Task("a", "k"), key="once")
        assert office.ready() == [("a", 1)]
        assert await office.states(plan) == {"a": "ready"}

    play(scenario)


class TestKeys:
    def test_the_same_key_is_the_same_plan_while_it_is_active(self, play) -> None:
        async def scenario(office: Any) -> None:
            first = await office.submit(Task("a", "k"), key="once")
            assert await office.submit(Task("a", "k"), key="once") == first
            assert await office.submit(Task("a", "k"), key="twice") != first
            assert await office.submit(Task("a", "k")) != first

        play(scenario)

    def test_also_where_the_first_is_just_being_stored(self, play) -> None:
        async def scenario(office: Any) -> None:
            office.gate.shut()
            both = [await office.manager.submit(Submission(Plan("p", (Task("a", "k"),)), "once")) for _ in range(2)]
            office.gate.open()
            one, two = await asyncio.gather(*both)
            assert one.id == two.id
            assert await office.records.count("plans") == 1

        play(scenario)

    def test_also_where_it_has_ended_and_after_a_restart(self, play) -> None:
        async def scenario(office: Any) -> None:
            first = await office.submit(Task("a", "k"), key="once")
            await office.run(first, "a")
            assert await office.submit(Task("a", "k"), key="once") == first
            await office.restart()
            assert await office.submit(Task("a", "k"), key="once") == first
            assert await office.records.count("plans") == 1

        play(scenario)
