"""From a task's record, and what happened to it, to its next record."""

from __future__ import annotations

from statistics import mean
from typing import Any

import pytest
from aats_agent_project_manager import steps
from aats_agent_project_manager.plan_run import PlanRun
from hypothesis import given
from hypothesis import strategies as st

from aats_core.task import (
    Assign,
    Outcome,
    PlanRecord,
    Retries,
    Task,
    TaskRecord,
    TaskResult,
    TaskState,
)

NOW = 1000.0


def running(*, attempt: int = 1, retries: Retries | None = None, **more: Any) -> TaskRecord:
    task = Task("a", "k", retries=retries or Retries())
    return TaskRecord("p/a", "p", task, TaskState.RUNNING, attempt=attempt, worker="w", **more)


def result(outcome: Outcome, *, error: str = "no luck", output: Any = None) -> TaskResult:
    return TaskResult("p", "a", 1, "w", outcome, 2.5, output, error)


def test_a_step_is_noted_with_time_reason_attempt_and_worker_and_leaves_the_old_record_alone() -> None:
    old = running(attempt=3)
    new = steps.step(old, TaskState.DONE, NOW, "done", output=7)
    assert (old.state, old.history, old.ended) == (TaskState.RUNNING, [], None)
    assert (new.state, new.output, new.ended) == (TaskState.DONE, 7, NOW)
    (note,) = new.history
    assert (note.state, note.time, note.reason, note.attempt, note.worker) == (TaskState.DONE, NOW, "done", 3, "w")


def test_an_assignment_forgets_what_belonged_to_the_attempt_before() -> None:
    old = TaskRecord(
        "p/a", "p", Task("a", "k"), attempt=1, failures=1, error="no luck", seconds=3.0, not_before=5.0, progress="half"
    )
    new = steps.assigned(old, Assign("p", "a", 2, "w2", 30.0), NOW)
    assert (new.state, new.attempt, new.worker, new.started) == (TaskState.RUNNING, 2, "w2", NOW)
    assert (new.error, new.seconds, new.not_before, new.progress, new.ended) == ("", None, None, "", None)
    assert new.failures == 1


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.DONE, TaskState.DONE),
        (Outcome.FAILED, TaskState.FAILED),
        (Outcome.REFUSED, TaskState.FAILED),
        (Outcome.CANCELLED, TaskState.CANCELLED),
        (Outcome.RETURNED, TaskState.WAITING),
        (Outcome.UNKNOWN, TaskState.UNKNOWN),
    ],
)
def test_each_outcome_has_its_state(outcome: Outcome, state: TaskState) -> None:
    new = steps.finished(running(), result(outcome), NOW)
    assert new.state is state
    assert (new.ended == NOW) is state.ended


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.DONE, TaskState.DONE),
        (Outcome.FAILED, TaskState.CANCELLED),
        (Outcome.REFUSED, TaskState.CANCELLED),
        (Outcome.CANCELLED, TaskState.CANCELLED),
        (Outcome.RETURNED, TaskState.CANCELLED),
        (Outcome.UNKNOWN, TaskState.UNKNOWN),
    ],
)
def test_a_task_that_is_to_be_cancelled_does_not_run_again_but_what_is_done_is_done(
    outcome: Outcome, state: TaskState
) -> None:
    record = running(cancel="enough", retries=Retries(limit=5))
    assert steps.finished(record, result(outcome), NOW).state is state


def test_a_task_fails_for_good_after_its_last_repetition() -> None:
    record = running(retries=Retries(limit=2))
    states = []
    for _ in range(3):
        record = steps.finished(record, result(Outcome.FAILED), NOW)
        states.append((record.state, record.failures))
    assert states == [(TaskState.WAITING, 1), (TaskState.WAITING, 2), (TaskState.FAILED, 3)]
    assert record.error == "no luck"


def test_a_refused_payload_is_not_tried_again() -> None:
    assert steps.finished(running(retries=Retries(limit=9)), result(Outcome.REFUSED), NOW).state is TaskState.FAILED


def test_what_was_handed_back_does_not_count_and_may_run_at_once() -> None:
    new = steps.finished(running(failures=1), result(Outcome.RETURNED, error="the worker drains"), NOW)
    assert (new.state, new.failures, new.not_before) == (TaskState.WAITING, 1, None)
    assert new.history[-1].reason == "handed back: the worker drains"


def test_a_lost_attempt_runs_again_until_that_has_happened_too_often() -> None:
    record = running(retries=Retries(lost=2))
    for count in (1, 2):
        record = steps.lost(record, "w was silent", NOW)
        assert (record.state, record.lost, record.failures) == (TaskState.WAITING, count, 0)
    record = steps.lost(record, "w was silent", NOW)
    assert record.state is TaskState.FAILED
    assert record.error == "lost its worker 3 times, last because w was silent"


def test_a_lost_attempt_of_a_task_to_be_cancelled_ends_it() -> None:
    record = steps.lost(running(cancel="enough"), "w was silent", NOW)
    assert (record.state, record.error) == (TaskState.CANCELLED, "enough")


class TestPause:
    def test_it_grows_by_the_factor_up_to_the_longest(self) -> None:
        retries = Retries(backoff=2.0, factor=3.0, max_backoff=50.0, jitter=0.0)
        assert [steps.pause(retries, failures) for failures in (1, 2, 3, 4, 5)] == [2.0, 6.0, 18.0, 50.0, 50.0]

    @given(
        failures=st.integers(1, 10**9),
        backoff=st.floats(0, 1e5),
        factor=st.floats(1, 1e3),
        jitter=st.floats(0, 1),
    )
    def test_it_is_never_negative_nor_longer_than_the_longest_with_its_jitter(
        self, failures: int, backoff: float, factor: float, jitter: float
    ) -> None:
        retries = Retries(backoff=backoff, factor=factor, max_backoff=3600.0, jitter=jitter)
        assert 0 <= steps.pause(retries, failures) <= 3600.0 * (1 + jitter)

    def test_jitter_makes_it_longer_and_shorter_by_up_to_its_share(self) -> None:
        retries = Retries(backoff=10.0, jitter=0.2)
        found = [steps.pause(retries, 1) for _ in range(2000)]
        assert 8.0 <= min(found) < 8.5
        assert 11.5 < max(found) <= 12.0
        assert 9.8 < mean(found) < 10.2


@pytest.mark.parametrize("state", TaskState)
def test_only_the_next_attempt_of_a_task_that_waits_is_awaited(state: TaskState) -> None:
    record = TaskRecord("p/a", "p", Task("a", "k"), state, attempt=2)
    waits = state in (TaskState.READY, TaskState.WAITING)
    assert [steps.awaits(record, attempt) for attempt in (1, 2, 3, 4)] == [False, False, waits, False]


def test_a_worker_is_told_all_it_has_to_know() -> None:
    task = Task("a", "k", timeout=60.0, resources={"cpu": 2.0})
    run = PlanRun(PlanRecord("p-1", "p", inputs={"x": 1}, deadline=5000.0), [task])
    order = steps.assignment(run, TaskRecord("p-1/a", "p-1", task, attempt=4), {"y": 2}, 30.0)
    assert (order.id, order.kind, order.payload, order.attempt) == ("p-1/a", "k", {"y": 2}, 4)
    assert (order.lease, order.timeout, order.deadline) == (30.0, 60.0, 5000.0)
    assert (order.resources, order.inputs) == ({"cpu": 2.0}, {"x": 1})


def test_the_deadline_of_the_task_goes_before_that_of_its_plan() -> None:
    task = Task("a", "k", deadline=4000.0)
    run = PlanRun(PlanRecord("p-1", "p", deadline=5000.0), [task])
    assert steps.assignment(run, run.tasks["a"], {}, 30.0).deadline == 4000.0
