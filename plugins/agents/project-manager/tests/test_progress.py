"""How tasks come from state to state, and what follows from each step once it is durable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aats_core.store import Insert, Put
from aats_core.task import (
    Assign,
    Outcome,
    PlanRemoved,
    Retries,
    SchedulerDecisions,
    Task,
    TaskAssignment,
    TaskEnded,
    TaskProgress,
    TaskReady,
    When,
)

A, B = Task("a", "k"), Task("b", "k", needs=("a",))


class TestTheWayOfATask:
    def test_every_transition_is_stored_with_its_time_and_reason(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(Task("a", "k", retries=Retries(limit=1, jitter=0)))
            start = office.clock.time()
            await office.clock.advance(5)
            await office.assign(plan, "a")
            await office.clock.advance(10)
            await office.end(plan, "a", Outcome.FAILED)
            await office.clock.advance(20)
            await office.assign(plan, "a", worker="w2")
            await office.clock.advance(30)
            await office.end(plan, "a", output=7)

            document = await office.stored(plan, "a")
            assert [tuple(note) for note in document["history"]] == [
                ("ready", start, "it needs nothing", 0, ""),
                ("running", start + 5, "assigned to w", 1, "w"),
                ("waiting", start + 15, "attempt 1 failed: no luck", 1, "w"),
                ("running", start + 35, "assigned to w2", 2, "w2"),
                ("done", start + 65, "done", 2, "w2"),
            ]
            assert (document["started"], document["ended"], document["seconds"]) == (start + 35, start + 65, 1.5)
            assert (document["state"], document["attempt"], document["output"]) == ("done", 2, 7)

        play(scenario)

    def test_a_worker_hears_of_its_task_once_the_assignment_is_durable_and_not_before(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            office.gate.shut()
            await office.manager.decided(SchedulerDecisions((Assign(plan, "a", 1, "w", 30.0),)))
            await asyncio.sleep(0.01)
            assert office.assignments() == []
            assert await office.states(plan) == {"a": "ready"}
            office.gate.open()
            await office.rest()
            assert office.assignments() == [("a", 1)]
            (sent,) = [each for each in office.context.sent if isinstance(each.payload, TaskAssignment)]
            assert (sent.receiver, sent.type) == ("w", "task.assignment")

        play(scenario)

    def test_what_needs_a_task_is_ready_once_its_result_is_durable_and_not_before(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            await office.assign(plan, "a")
            office.gate.shut()
            await office.manager.result(await office.result(plan, "a"))
            await asyncio.sleep(0.01)
            assert office.ready() == [("a", 1)]
            office.gate.open()
            await office.rest()
            assert office.ready() == [("a", 1), ("b", 1)]
            assert await office.states(plan) == {"a": "done", "b": "ready"}

        play(scenario)

    def test_the_last_result_and_the_end_of_the_plan_are_one_commit(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            office.gate.commits.clear()
            await office.end(plan, "a")
            assert [len(commit) for commit in office.gate.commits] == [2]
            (document,) = await office.records.find("plans", {"_id": plan})
            assert (document["state"], document["ended"], document["counts"]) == (
                "done",
                office.clock.time(),
                {"done": 1},
            )
            assert office.told(PlanRemoved) == [PlanRemoved(plan)]

        play(scenario)

    def test_results_that_come_while_a_commit_runs_share_the_next_one(self, play) -> None:
        async def scenario(office: Any) -> None:
            names = [f"t{n}" for n in range(300)]
            plan = await office.submit(*(Task(name, "k") for name in names))
            await office.assign(plan, *names)
            office.gate.commits.clear()
            results = [await office.result(plan, name) for name in names]
            for result in results:
                await office.manager.result(result)
            await office.rest()
            assert len(office.gate.commits) <= 3
            assert await office.state(plan) == "done"

        play(scenario)

    def test_observers_hear_of_every_step_and_of_the_plans_end(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            await office.run(plan, "a", "b")
            heard = [(event.name, event.state, event.plan_state) for event in office.listener.events]
            assert heard == [
                ("a", "ready", "active"),
                ("a", "running", "active"),
                ("a", "done", "active"),
                ("b", "ready", "active"),
                ("b", "running", "active"),
                ("b", "done", "done"),
            ]

        play(scenario)

    def test_what_a_task_reports_of_itself_is_shown_and_passed_on(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            await office.manager.progress(TaskProgress(plan, "a", 1, "half of it"))
            await office.manager.progress(TaskProgress(plan, "a", 0, "of an earlier attempt"))
            await office.manager.progress(TaskProgress("ghost", "a", 1, "of no plan"))
            assert (await office.task(plan, "a")).progress == "half of it"
            assert [event.progress for event in office.listener.events if event.progress] == ["half of it"]

        play(scenario)


class TestOutcomes:
    def test_a_failure_skips_what_needs_it_and_runs_what_waits_for_failures(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(
                A,
                B,
                Task("c", "k", needs=("b",)),
                Task("alarm", "k", needs=("c",), when=When.FAILED),
                Task("report", "k", needs=("a", "c"), when=When.ENDED),
            )
            await office.run(plan, "a", outcome=Outcome.FAILED)
            assert await office.states(plan) == {
                "a": "failed",
                "b": "skipped",
                "c": "skipped",
                "alarm": "ready",
                "report": "ready",
            }
            assert (await office.stored(plan, "c"))["error"] == "needs b, which is skipped"
            await office.run(plan, "alarm", "report")
            assert await office.state(plan) == "failed"

        play(scenario)

    def test_a_plan_whose_rest_is_skipped_ends(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            await office.run(plan, "a", outcome=Outcome.FAILED)
            await office.rest()
            assert await office.state(plan) == "failed"
            assert (await office.stored(plan, "b"))["state"] == "skipped"
            assert office.listener.events[-1].plan_state == "failed"
            assert office.told(PlanRemoved) == [PlanRemoved(plan)]

        play(scenario)

    def test_an_alarm_that_nobody_needs_is_skipped_and_the_plan_is_done(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, Task("alarm", "k", needs=("a",), when=When.FAILED))
            await office.run(plan, "a")
            await office.rest()
            assert await office.states(plan) == {"a": "done", "alarm": "skipped"}
            assert await office.state(plan) == "done"

        play(scenario)

    def test_the_state_of_a_plan_is_that_of_its_worst_task(self, play) -> None:
        async def scenario(office: Any) -> None:
            for outcomes, state in {
                (Outcome.DONE, Outcome.DONE): "done",
                (Outcome.DONE, Outcome.CANCELLED): "cancelled",
                (Outcome.CANCELLED, Outcome.FAILED): "failed",
                (Outcome.UNKNOWN, Outcome.DONE): "failed",
            }.items():
                plan = await office.submit(Task("a", "k"), Task("b", "k"))
                for name, outcome in zip("ab", outcomes, strict=True):
                    await office.run(plan, name, outcome=outcome)
                assert await office.state(plan) == state

        play(scenario)


class TestOutputs:
    def test_a_payload_takes_what_its_needs_returned_the_inputs_and_the_plan(self, play) -> None:
        async def scenario(office: Any) -> None:
            payload = {
                "file": "{{ tasks.a.output.wheel }}",
                "whole": "{{ tasks.a.output }}",
                "text": "from {{ inputs.who }} in {{ plan.name }}: {{ tasks.a.state }}",
            }
            plan = await office.submit(A, Task("b", "k", needs=("a",), payload=payload), inputs={"who": "me"})
            await office.run(plan, "a", output={"wheel": "x.whl", "n": [1, 2]})
            await office.restart()
            await office.assign(plan, "b")
            (order,) = office.orders(TaskAssignment)
            assert order.payload == {
                "file": "x.whl",
                "whole": {"wheel": "x.whl", "n": [1, 2]},
                "text": "from me in p: done",
            }
            assert (await office.task(plan, "b")).task.payload == payload

        play(scenario)

    def test_a_template_that_cannot_be_filled_fails_the_task_before_it_runs(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, Task("b", "k", needs=("a",), payload={"x": "{{ tasks.a.output.wheel }}"}))
            await office.run(plan, "a", output={"tarball": "x.tar"})
            await office.assign(plan, "b")
            task = await office.task(plan, "b")
            assert task.state == "failed"
            assert "wheel" in task.error
            assert office.assignments() == [("a", 1)]
            assert office.ended()[-1] == ("b", 1, True)
            assert await office.state(plan) == "failed"

        play(scenario)

    def test_an_output_that_the_store_cannot_keep_fails_the_task(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            await office.run(plan, "a", output={"n": 2**70})
            task = await office.task(plan, "a")
            assert task.state == "failed"
            assert "the result could not be stored" in task.error
            assert await office.state(plan) == "failed"

        play(scenario)

    def test_effects_in_the_tasks_own_store_are_committed_with_its_result_or_not_at_all(self, play) -> None:
        async def scenario(office: Any) -> None:
            await office.records.insert("things", {"_id": "taken"})
            plan = await office.submit(Task("a", "k"), Task("b", "k"))
            await office.run(plan, "a", writes=(Put("things", {"_id": "made"}),))
            await office.run(plan, "b", writes=(Put("things", {"_id": "half"}), Insert("things", {"_id": "taken"})))
            assert await office.states(plan) == {"a": "done", "b": "failed"}
            assert "taken" in (await office.task(plan, "b")).error
            assert sorted(found["_id"] for found in await office.records.find("things")) == ["made", "taken"]

        play(scenario)


class TestRepetitions:
    def test_a_failed_attempt_is_repeated_after_its_backoff(self, play) -> None:
        async def scenario(office: Any) -> None:
            retries = Retries(limit=2, backoff=10.0, factor=3.0, jitter=0.1)
            plan = await office.submit(Task("a", "k", retries=retries))
            for attempt, pause in ((1, 10.0), (2, 30.0)):
                await office.run(plan, "a", outcome=Outcome.FAILED)
                word = office.told(TaskReady)[-1]
                assert (word.name, word.attempt) == ("a", attempt + 1)
                assert 0.9 * pause <= word.not_before - office.clock.time() <= 1.1 * pause
                assert (await office.stored(plan, "a"))["not_before"] == word.not_before
            await office.run(plan, "a", outcome=Outcome.FAILED)
            assert office.ended() == [("a", 1, False), ("a", 2, False), ("a", 3, True)]
            assert await office.state(plan) == "failed"

        play(scenario)

    def test_the_scheduler_learns_how_long_an_attempt_took_that_ran_to_its_end(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(*(Task(name, "k") for name in "abcd"))
            for name, outcome in zip(
                "abcd", (Outcome.DONE, Outcome.FAILED, Outcome.CANCELLED, Outcome.UNKNOWN), strict=True
            ):
                await office.run(plan, name, outcome=outcome, seconds=4.5)
            assert [word.seconds for word in office.told(TaskEnded)] == [4.5, 4.5, None, None]

        play(scenario)

    def test_a_handed_back_attempt_is_repeated_at_once_and_counts_as_no_failure(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.run(plan, "a", outcome=Outcome.RETURNED)
            assert (office.told(TaskReady)[-1].attempt, office.told(TaskReady)[-1].not_before) == (2, None)
            await office.run(plan, "a")
            assert await office.state(plan) == "done"

        play(scenario)

    def test_a_lost_worker_is_told_to_stop_and_its_task_runs_elsewhere(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            await office.lose(plan, "a")
            assert office.stops() == [("a", 1, "w was not heard of any more")]
            assert office.ready()[-1] == ("a", 2)
            assert (await office.stored(plan, "a"))["lost"] == 1
            await office.assign(plan, "a", worker="w2")
            await office.end(plan, "a")
            assert await office.state(plan) == "done"

        play(scenario)

    def test_a_task_that_kills_its_workers_comes_to_an_end(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(Task("a", "k", retries=Retries(lost=2)))
            for attempt in (1, 2, 3):
                await office.assign(plan, "a")
                await office.lose(plan, "a", attempt)
            task = await office.task(plan, "a")
            assert (task.state, task.lost) == ("failed", 3)
            assert await office.state(plan) == "failed"

        play(scenario)


class TestOldAttempts:
    @pytest.mark.parametrize("attempt", [0, 1, 3])
    def test_a_result_of_another_attempt_than_the_present_is_passed_over(self, play, attempt: int) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            await office.lose(plan, "a")
            await office.assign(plan, "a", worker="w2")
            tried = office.gate.tried
            await office.end(plan, "a", attempt=attempt, output="old", writes=(Put("things", {"_id": 1}),))
            assert (await office.task(plan, "a")).state == "running"
            assert office.gate.tried == tried
            assert await office.records.count("things") == 0
            await office.end(plan, "a", output="new")
            assert (await office.task(plan, "a")).output == "new"

        play(scenario)

    def test_a_result_that_comes_twice_counts_once(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            await office.assign(plan, "a")
            result = await office.result(plan, "a", output=1)
            for _ in range(3):
                await office.manager.result(result)
            await office.rest()
            await office.end(plan, "a", Outcome.FAILED)
            assert await office.states(plan) == {"a": "done", "b": "ready"}
            assert len((await office.task(plan, "a")).history) == 3
            assert office.ready() == [("a", 1), ("b", 1)]

        play(scenario)

    def test_a_lease_that_ran_out_before_counts_no_more(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.run(plan, "a", outcome=Outcome.RETURNED)
            await office.assign(plan, "a")
            await office.lose(plan, "a", attempt=1)
            assert (await office.task(plan, "a")).state == "running"

        play(scenario)

    def test_of_a_result_and_a_lost_lease_at_once_the_first_counts(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            office.gate.shut()
            await office.manager.result(await office.result(plan, "a"))
            losing = asyncio.create_task(office.lose(plan, "a"))
            await asyncio.sleep(0.01)
            office.gate.open()
            await losing
            assert await office.states(plan) == {"a": "done"}

        play(scenario)

    @pytest.mark.parametrize("attempt", [1, 3])
    def test_an_assignment_of_another_attempt_than_the_next_is_given_back(self, play, attempt: int) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.run(plan, "a", outcome=Outcome.RETURNED)
            office.forget()
            await office.assign(plan, "a", attempt=attempt)
            assert office.assignments() == []
            assert office.ended() == [("a", attempt, False)]

        play(scenario)

    def test_an_assignment_of_what_is_over_or_unknown_is_given_back_for_good(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, Task("z", "k"))
            await office.run(plan, "a")
            office.forget()
            await office.assign(plan, "a", "ghost")
            await office.manager.decided(SchedulerDecisions((Assign("ghost", "a", 1, "w", 30.0),)))
            await office.rest()
            assert office.assignments() == []
            assert office.ended() == [("a", 2, True), ("ghost", 1, True), ("a", 1, True)]

        play(scenario)

    def test_the_same_assignment_twice_runs_once(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            assign = Assign(plan, "a", 1, "w", 30.0)
            await office.manager.decided(SchedulerDecisions((assign, assign)))
            await office.rest()
            assert office.assignments() == [("a", 1)]

        play(scenario)
