"""Killed at any state, it goes on from what is stored."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from aats_core.hooks import Hooks
from aats_core.operations import CancelRequest
from aats_core.task import (
    Assign,
    Outcome,
    PlanAdded,
    Retries,
    SchedulerDecisions,
    Task,
    TaskEnded,
    TaskReady,
    TaskRunning,
    When,
)

A, B = Task("a", "k"), Task("b", "k", needs=("a",))


def test_nothing_to_go_on_with_is_harmless(play) -> None:
    async def scenario(office: Any) -> None:
        await office.restart()
        assert office.context.sent == []

    play(scenario)


def test_a_plan_that_was_only_submitted_is_ready_again(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A, B, priority=2)
        await office.restart()
        added, ready = office.told(PlanAdded, TaskReady, TaskRunning)
        assert (added.plan, added.priority, len(added.tasks), added.ended) == (plan, 2, 2, ())
        assert (ready.name, ready.attempt) == ("a", 1)
        await office.run(plan, "a", "b")
        assert await office.state(plan) == "done"

    play(scenario)


def test_a_running_task_goes_on_running_and_its_result_counts(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A, B)
        await office.assign(plan, "a")
        await office.restart()
        assert office.told(TaskRunning) == [TaskRunning(plan, "a", 1, "w")]
        assert office.told(TaskReady) == []
        await office.end(plan, "a", output=7)
        assert (await office.task(plan, "a")).output == 7
        assert office.ready() == [("b", 1)]

    play(scenario)


def test_a_running_task_whose_worker_is_gone_is_lost_and_runs_again(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A)
        await office.assign(plan, "a")
        await office.restart()
        await office.lose(plan, "a")
        await office.assign(plan, "a", worker="w2")
        await office.end(plan, "a", attempt=1)
        assert (await office.task(plan, "a")).state == "running"
        await office.end(plan, "a", attempt=2)
        assert await office.state(plan) == "done"

    play(scenario)


def test_a_task_that_waits_for_its_next_attempt_keeps_its_time_and_its_failures(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(Task("a", "k", retries=Retries(limit=2, backoff=100)))
        await office.run(plan, "a", outcome=Outcome.FAILED)
        (_, before) = office.told(TaskReady)
        await office.restart()
        assert office.told(TaskReady) == [before]
        assert (await office.task(plan, "a")).failures == 1

    play(scenario)


def test_what_is_done_does_not_run_again(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A, B)
        await office.run(plan, "a", output=1)
        await office.restart()
        assert [word.ended for word in office.told(PlanAdded)] == [("a",)]
        assert office.ready() == [("b", 1)]

    play(scenario)


def test_a_cancellation_is_told_to_the_worker_again(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A)
        await office.assign(plan, "a")
        await office.ask(office.manager.cancel(CancelRequest(plan, "enough")))
        await office.restart()
        assert office.stops() == [("a", 1, "enough")]
        await office.end(plan, "a", Outcome.FAILED)
        assert await office.state(plan) == "cancelled"

    play(scenario)


def test_ended_plans_are_left_alone_and_can_be_shown(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A)
        await office.run(plan, "a", output=7)
        await office.restart()
        assert office.context.sent == []
        detail = await office.manager.show_plan(plan)
        assert (detail.plan.state, detail.tasks[0].output) == ("done", 7)

    play(scenario)


def test_the_same_task_is_shown_after_a_restart(play) -> None:
    async def scenario(office: Any) -> None:
        task = Task(
            "a",
            "k",
            {"x": [1, None]},
            retries=Retries(limit=3),
            timeout=9.0,
            priority=2,
            resources={"cpu": 1.5},
            description="first",
        )
        plan = await office.submit(task, B)
        await office.run(plan, "a", outcome=Outcome.FAILED, output={"log": "…"}, seconds=0.0)
        before = [await office.task(plan, name) for name in "ab"]
        await office.restart()
        after = [await office.task(plan, name) for name in "ab"]
        assert after[1] == before[1]
        # It waited for its next attempt, which is told as readiness again; nothing else is different.
        assert after[0].history.pop().state == "ready"
        after[0].state = before[0].state
        assert after[0] == before[0]

    play(scenario)


@pytest.mark.parametrize("step", ["submit", "assign", "result", "fail", "cancel"])
def test_a_step_that_was_not_durable_when_it_was_killed_has_not_happened(play, step: str) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A, B)
        if step in ("result", "fail"):
            await office.assign(plan, "a")
        before = await office.states(plan)
        office.forget()
        office.gate.shut()
        if step == "submit":
            submitting = asyncio.ensure_future(office.submit(A, name="second"))
            await asyncio.sleep(0.01)
            submitting.cancel()
        elif step == "assign":
            await office.manager.decided(SchedulerDecisions((Assign(plan, "a", 1, "w", 30.0),)))
        elif step == "cancel":
            await office.manager.cancel(CancelRequest(plan))
        else:
            outcome = Outcome.DONE if step == "result" else Outcome.FAILED
            await office.manager.result(await office.result(plan, "a", outcome))
        await asyncio.sleep(0.01)
        assert office.assignments() == []
        await office.restart()
        assert await office.states(plan) == before
        assert await office.records.count("plans") == 1

    play(scenario)


def test_a_plan_that_was_killed_between_its_last_task_and_its_end_ends(play) -> None:
    """Two last results in one commit: that the plan has ended is stored in the next one."""

    async def scenario(office: Any) -> None:
        plan = await office.submit(Task("a", "k"), Task("b", "k"))
        await office.assign(plan, "a", "b")
        results = [await office.result(plan, name) for name in "ab"]
        for result in results:
            await office.manager.result(result)
        async with asyncio.timeout(20):
            while await office.records.count("tasks", {"state": "done"}) < 2:
                await asyncio.sleep(0)
        await office.restart()
        await office.rest()
        assert await office.state(plan) == "done"

    play(scenario)


def test_a_scheduler_that_starts_again_is_told_everything(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A, B, Task("c", "k"), Task("d", "k"))
        await office.run(plan, "a")
        await office.assign(plan, "c")
        office.forget()
        await office.manager.scheduler_started()
        await office.rest()
        assert [word.ended for word in office.told(PlanAdded)] == [("a",)]
        assert sorted(office.ready()) == [("b", 1), ("d", 1)]
        assert office.told(TaskRunning) == [TaskRunning(plan, "c", 1, "w")]

    play(scenario)


def test_it_says_nothing_of_a_step_that_is_just_being_stored(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(A)
        office.gate.shut()
        await office.manager.decided(SchedulerDecisions((Assign(plan, "a", 1, "w", 30.0),)))
        office.forget()
        await office.manager.scheduler_started()
        await asyncio.sleep(0.01)
        assert office.ready() == []
        office.gate.open()
        await office.rest()
        assert office.assignments() == [("a", 1)]
        assert office.told(TaskRunning) == [TaskRunning(plan, "a", 1, "w")], "but once it is stored"

    play(scenario)


@pytest.mark.parametrize("outcome", [Outcome.RETURNED, Outcome.FAILED])
def test_a_scheduler_that_starts_again_hears_of_tasks_that_wait_for_their_next_attempt(play, outcome: Outcome) -> None:
    async def scenario(office: Any) -> None:
        again = Task("a", "k", retries=Retries(limit=1))
        plan = await office.submit(again, Task("b", "k", needs=("a",)))
        await office.run(plan, "a", outcome=outcome)
        assert await office.states(plan) == {"a": "waiting", "b": "waiting"}
        office.forget()
        await office.manager.scheduler_started()
        await office.rest()
        assert office.ready() == [("a", 2)]

    play(scenario)


OUTCOMES = [Outcome.DONE, Outcome.DONE, Outcome.FAILED, Outcome.RETURNED, Outcome.CANCELLED, Outcome.REFUSED]


@pytest.mark.parametrize("seed", range(20))
def test_killed_anywhere_every_plan_comes_to_its_end_and_nothing_that_ended_runs_again(play, seed: int) -> None:
    randomness = random.Random(seed)
    tasks: list[Task] = []
    for number in range(randomness.randint(2, 7)):
        needs = tuple(randomness.sample([task.name for task in tasks], min(number, randomness.randint(0, 2))))
        when = randomness.choice(list(When)) if needs else When.DONE
        tasks.append(Task(f"t{number}", "k", needs=needs, when=when, retries=Retries(limit=1, backoff=0.0)))

    async def scenario(office: Any) -> None:
        plan = await office.submit(*tasks)
        ended: dict[str, str] = {}
        for _ in range(200):
            known = (await office.manager.show_plan(plan)).tasks
            ready = [task.task.name for task in known if task.state in ("ready", "waiting") and _may_run(office, task)]
            running = [task.task.name for task in known if task.state == "running"]
            if not ready and not running:
                break
            name = randomness.choice(ready + running)
            if name in ready:
                await office.assign(plan, name)
            else:
                await office.end(plan, name, randomness.choice(OUTCOMES))
            if randomness.random() < 0.5:
                await office.restart()
            await office.rest()
            for task in (await office.manager.show_plan(plan)).tasks:
                if task.state.ended:
                    assert ended.setdefault(task.task.name, task.state.value) == task.state.value
        assert set(ended) == {task.name for task in tasks}
        assert await office.state(plan) != "active"

    play(scenario)


def _may_run(office: Any, task: Any) -> bool:
    """Tell whether the scheduler was told that the next attempt of a task may run."""
    return (task.task.name, task.attempt + 1) in office.ready()


def test_observers_are_not_needed(play) -> None:
    async def scenario(office: Any) -> None:
        office.hooks.unregister(office.listener)
        assert isinstance(office.hooks, Hooks)
        plan = await office.submit(A)
        await office.run(plan, "a")
        assert office.listener.events == []
        assert await office.state(plan) == "done"
        assert [word.seconds for word in office.told(TaskEnded)] == [1.5]

    play(scenario)
