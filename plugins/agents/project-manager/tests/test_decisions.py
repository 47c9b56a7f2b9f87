"""What people decide: cancel, retry, settle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aats_core.errors import InvalidRequest, NotFound
from aats_core.operations import CancelRequest, RetryRequest, SettleRequest
from aats_core.task import Outcome, PlanAdded, PlanRemoved, Retries, Task, TaskReady, When

A, B = Task("a", "k"), Task("b", "k", needs=("a",))


async def cancel(office: Any, id: str, reason: str = "enough") -> list[str]:
    found = await office.ask(office.manager.cancel(CancelRequest(id, reason)))
    await office.rest()
    return found


async def retry(office: Any, id: str) -> list[str]:
    found = await office.ask(office.manager.retry(RetryRequest(id)))
    await office.rest()
    return found


async def settle(office: Any, id: str, **request: Any) -> Any:
    found = await office.ask(office.manager.settle(SettleRequest(id, **request)))
    await office.rest()
    return found


class TestCancel:
    def test_a_task_that_waits_ends_at_once_with_what_needs_it(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B, Task("c", "k", needs=("b",)))
            assert await cancel(office, f"{plan}/b") == [f"{plan}/b"]
            assert await office.states(plan) == {"a": "ready", "b": "cancelled", "c": "skipped"}
            document = await office.stored(plan, "b")
            assert (document["state"], document["error"], document["history"][-1][2]) == (
                "cancelled",
                "enough",
                "enough",
            )
            await office.run(plan, "a")
            assert await office.state(plan) == "cancelled"

        play(scenario)

    def test_a_ready_task_is_withdrawn_from_the_scheduler(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await cancel(office, f"{plan}/a")
            assert office.ended() == [("a", 0, True)]
            assert office.told(PlanRemoved) == [PlanRemoved(plan)]
            await office.assign(plan, "a")
            assert office.assignments() == []

        play(scenario)

    def test_a_running_task_is_told_to_stop_and_ends_once_its_worker_says_so(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            assert await cancel(office, f"{plan}/a") == [f"{plan}/a"]
            assert office.stops() == [("a", 1, "enough")]
            assert (await office.stored(plan, "a"))["cancel"] == "enough"
            assert await office.states(plan) == {"a": "running"}
            await office.end(plan, "a", Outcome.CANCELLED, error="")
            assert (await office.task(plan, "a")).error == ""
            assert (await office.task(plan, "a")).history[-1].reason == "enough"
            assert await office.state(plan) == "cancelled"

        play(scenario)

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.RETURNED])
    def test_one_that_ends_otherwise_meanwhile_is_not_run_again(self, play, outcome: Outcome) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(Task("a", "k", retries=Retries(limit=9)))
            await office.assign(plan, "a")
            await cancel(office, f"{plan}/a")
            await office.end(plan, "a", outcome)
            assert await office.state(plan) == "cancelled"

        play(scenario)

    def test_one_that_is_done_before_it_hears_of_it_is_done(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            await cancel(office, f"{plan}/a")
            await office.end(plan, "a")
            assert await office.state(plan) == "done"

        play(scenario)

    def test_one_whose_worker_is_lost_is_cancelled(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            await office.assign(plan, "a")
            await cancel(office, f"{plan}/a")
            await office.lose(plan, "a")
            assert await office.state(plan) == "cancelled"

        play(scenario)

    def test_a_task_that_is_just_being_assigned_is_stopped(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            office.gate.shut()
            assigning = asyncio.create_task(office.assign(plan, "a"))
            await asyncio.sleep(0.01)
            cancelling = asyncio.create_task(cancel(office, plan))
            await asyncio.sleep(0.01)
            office.gate.open()
            await asyncio.gather(assigning, cancelling)
            await office.rest()
            assert office.stops() == [("a", 1, "enough")]
            assert (await office.stored(plan, "a"))["cancel"] == "enough"

        play(scenario)

    def test_a_plan_is_cancelled_with_all_that_has_not_ended(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(
                Task("done", "k"),
                Task("runs", "k"),
                Task("ready", "k"),
                Task("waits", "k", needs=("runs",)),
                Task("clean-up", "k", needs=("runs",), when=When.ENDED),
            )
            await office.run(plan, "done")
            await office.assign(plan, "runs")
            found = await cancel(office, plan)
            assert found == [f"{plan}/{name}" for name in ("runs", "ready", "waits", "clean-up")]
            await office.end(plan, "runs", Outcome.CANCELLED)
            assert await office.states(plan) == {
                "done": "done",
                "runs": "cancelled",
                "ready": "cancelled",
                "waits": "cancelled",
                "clean-up": "cancelled",
            }
            assert await office.state(plan) == "cancelled"

        play(scenario)

    def test_it_answers_once_that_is_durable(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            office.gate.shut()
            answer = await office.manager.cancel(CancelRequest(plan))
            await asyncio.sleep(0.01)
            assert not answer.done()
            office.gate.open()
            assert await answer == [f"{plan}/a"]
            assert (await office.stored(plan, "a"))["state"] == "cancelled"

        play(scenario)

    def test_what_has_ended_or_never_was_is_refused(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            await office.run(plan, "a")
            for wanted, error, words in (
                ("ghost", NotFound, "no plan 'ghost'"),
                (f"{plan}/ghost", NotFound, "no task"),
                (f"{plan}/a", InvalidRequest, "has ended already"),
            ):
                with pytest.raises(error, match=words):
                    await cancel(office, wanted)
            await office.run(plan, "b")
            with pytest.raises(InvalidRequest, match="has ended already"):
                await cancel(office, plan)

        play(scenario)


class TestRetry:
    def test_a_failed_task_of_a_plan_that_ended_runs_again_with_what_was_skipped_for_it(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B, Task("other", "k"))
            await office.run(plan, "other")
            await office.run(plan, "a", outcome=Outcome.FAILED)
            assert await office.state(plan) == "failed"
            office.forget()

            assert await retry(office, plan) == [f"{plan}/a", f"{plan}/b"]
            assert await office.state(plan) == "active"
            assert await office.states(plan) == {"a": "ready", "b": "waiting", "other": "done"}
            assert [(word.plan, word.ended) for word in office.told(PlanAdded)] == [(plan, ("other",))]
            assert office.ready() == [("a", 2)]
            await office.run(plan, "a", "b")
            assert await office.state(plan) == "done"
            assert (await office.manager.show_plan(plan)).plan.counts == {"done": 3}

        play(scenario)

    def test_its_repetitions_begin_anew_and_its_attempts_go_on(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(Task("a", "k", retries=Retries(limit=1)))
            await office.run(plan, "a", outcome=Outcome.FAILED)
            await office.run(plan, "a", outcome=Outcome.FAILED)
            await retry(office, f"{plan}/a")
            task = await office.task(plan, "a")
            assert (task.attempt, task.failures, task.error, task.ended) == (2, 0, "", None)
            assert (await office.stored(plan, "a"))["state"] == "waiting"
            await office.run(plan, "a", outcome=Outcome.FAILED)
            assert await office.states(plan) == {"a": "waiting"}
            assert "to be run again" in [note.reason for note in (await office.task(plan, "a")).history]

        play(scenario)

    def test_one_of_a_plan_that_still_runs(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B, Task("other", "k"))
            await office.assign(plan, "other")
            await office.run(plan, "a", outcome=Outcome.FAILED)
            assert await retry(office, f"{plan}/a") == [f"{plan}/a", f"{plan}/b"]
            await office.end(plan, "other")
            await office.run(plan, "a", "b")
            assert await office.state(plan) == "done"

        play(scenario)

    def test_while_the_end_of_the_plan_is_being_stored_the_plan_goes_on(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, Task("other", "k"))
            await office.run(plan, "a", outcome=Outcome.FAILED)
            await office.assign(plan, "other")
            office.gate.shut()
            await office.manager.result(await office.result(plan, "other"))
            await asyncio.sleep(0.01)
            retrying = asyncio.create_task(retry(office, plan))
            await asyncio.sleep(0.01)
            office.gate.open()
            assert await retrying == [f"{plan}/a"]
            assert await office.state(plan) == "active"
            assert PlanRemoved(plan) not in office.told(PlanRemoved)
            await office.run(plan, "a")
            assert await office.state(plan) == "done"

        play(scenario)

    def test_cancelled_and_unknown_tasks_run_again_too(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(*(Task(name, "k") for name in "abc"))
            await office.run(plan, "a", outcome=Outcome.CANCELLED)
            await office.run(plan, "b", outcome=Outcome.UNKNOWN)
            await office.run(plan, "c")
            assert await retry(office, plan) == [f"{plan}/a", f"{plan}/b"]

        play(scenario)

    def test_what_needs_another_failed_task_is_skipped_again(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(
                A, Task("b", "k", needs=("a",), when=When.ENDED), Task("c", "k", needs=("a", "b"))
            )
            await office.run(plan, "a", outcome=Outcome.FAILED)
            await office.run(plan, "b", outcome=Outcome.FAILED)
            await retry(office, f"{plan}/b")
            assert await office.states(plan) == {"a": "failed", "b": "ready", "c": "skipped"}
            await office.run(plan, "b")
            assert await office.state(plan) == "failed"

        play(scenario)

    def test_what_has_not_failed_is_refused(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            for wanted in (plan, f"{plan}/a", f"{plan}/ghost"):
                with pytest.raises(InvalidRequest, match="nothing there has failed"):
                    await retry(office, wanted)
            with pytest.raises(NotFound):
                await retry(office, "ghost")

        play(scenario)

    def test_it_outlives_a_restart(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B)
            await office.run(plan, "a", outcome=Outcome.FAILED)
            await retry(office, plan)
            await office.restart()
            assert await office.states(plan) == {"a": "ready", "b": "waiting"}
            assert office.told(TaskReady) == [TaskReady(plan, "a", 2)]
            await office.run(plan, "a", "b")
            assert await office.state(plan) == "done"

        play(scenario)


class TestSettle:
    async def _unknown(self, office: Any) -> str:
        plan = await office.submit(A, B)
        await office.run(plan, "a", outcome=Outcome.UNKNOWN, error="effect 'pay' was begun")
        assert await office.states(plan) == {"a": "unknown", "b": "skipped"}
        assert await office.state(plan) == "failed"
        office.forget()
        return plan

    def test_what_is_done_frees_what_needed_it(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await self._unknown(office)
            record = await settle(office, f"{plan}/a", done=True, output=7, reason="I looked")
            assert (record.state, record.output, record.error) == ("done", 7, "")
            assert await office.state(plan) == "active"
            assert await office.states(plan) == {"a": "done", "b": "ready"}
            assert office.ready() == [("b", 1)]
            assert office.ended() == [("a", 1, True)]
            await office.run(plan, "b")
            assert await office.state(plan) == "done"
            states = [note[0] for note in (await office.stored(plan, "a"))["history"]]
            assert states == ["ready", "running", "unknown", "done"]

        play(scenario)

    def test_what_failed_ends_the_plan_again(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await self._unknown(office)
            record = await settle(office, f"{plan}/a", done=False, reason="it is not there")
            assert (record.state, record.error) == ("failed", "it is not there")
            assert await office.states(plan) == {"a": "failed", "b": "skipped"}
            assert await office.state(plan) == "failed"

        play(scenario)

    def test_it_says_who_settled_it_where_no_reason_is_given(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await self._unknown(office)
            await settle(office, f"{plan}/a", done=True)
            assert (await office.task(plan, "a")).history[-1].reason == "settled by the operator"

        play(scenario)

    def test_a_task_of_a_plan_that_still_runs(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A, B, Task("other", "k"))
            await office.run(plan, "a", outcome=Outcome.UNKNOWN)
            await settle(office, f"{plan}/a", done=True)
            await office.run(plan, "b", "other")
            assert await office.state(plan) == "done"

        play(scenario)

    def test_it_outlives_a_restart(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await self._unknown(office)
            await settle(office, f"{plan}/a", done=True, output=7)
            await office.restart()
            assert await office.states(plan) == {"a": "done", "b": "ready"}
            assert (await office.task(plan, "a")).output == 7

        play(scenario)

    def test_what_is_known_cannot_be_settled(self, play) -> None:
        async def scenario(office: Any) -> None:
            plan = await office.submit(A)
            for wanted in (plan, f"{plan}/a", f"{plan}/ghost"):
                with pytest.raises(InvalidRequest, match="not a task in state unknown"):
                    await settle(office, wanted, done=True)
            with pytest.raises(NotFound):
                await settle(office, "ghost/a", done=True)

        play(scenario)
