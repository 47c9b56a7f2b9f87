"""What an ended task means for those that need it."""

from __future__ import annotations

from itertools import pairwise

from aats_agent_project_manager import steps
from aats_agent_project_manager.plan_run import Freed, PlanRun
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aats_core.task import PlanRecord, PlanState, Task, TaskState, When


def run_of(*tasks: Task) -> PlanRun:
    return PlanRun(PlanRecord("p-1", "p"), tasks)


def end(run: PlanRun, name: str, state: TaskState, now: float = 1.0) -> Freed:
    return run.replace(steps.step(run.tasks[name], state, now, "test"), now)


def states(run: PlanRun) -> dict[str, str]:
    return {name: task.state.value for name, task in run.tasks.items()}


def test_only_tasks_without_needs_are_ready_at_first() -> None:
    run = run_of(Task("a", "k"), Task("b", "k", needs=("a",)))
    freed = run.begin(0.0)
    assert [task.task.name for task in freed.ready] == ["a"]
    assert states(run) == {"a": "ready", "b": "waiting"}


def test_a_task_becomes_ready_once_all_its_needs_are_done() -> None:
    run = run_of(Task("a", "k"), Task("b", "k"), Task("c", "k", needs=("a", "b")))
    run.begin(0.0)
    assert end(run, "a", TaskState.DONE).ready == []
    assert [task.id for task in end(run, "b", TaskState.DONE).ready] == ["p-1/c"]


def test_a_failure_skips_all_that_needs_it_and_says_why() -> None:
    run = run_of(Task("a", "k"), Task("b", "k", needs=("a",)), Task("c", "k", needs=("b",)))
    run.begin(0.0)
    freed = end(run, "a", TaskState.FAILED)
    assert [task.task.name for task in freed.skipped] == ["b", "c"]
    assert run.tasks["b"].error == "needs a, which is failed"
    assert run.remaining == 0
    assert run.closed(2.0).state is PlanState.FAILED


def test_when_failed_runs_after_a_failure_further_up_and_is_skipped_without_one() -> None:
    tasks = (Task("a", "k"), Task("b", "k", needs=("a",)), Task("alarm", "k", needs=("b",), when=When.FAILED))
    broken, fine = run_of(*tasks), run_of(*tasks)
    for run in (broken, fine):
        run.begin(0.0)
    assert [task.task.name for task in end(broken, "a", TaskState.FAILED).ready] == ["alarm"]
    end(fine, "a", TaskState.DONE)
    freed = end(fine, "b", TaskState.DONE)
    assert [task.task.name for task in freed.skipped] == ["alarm"]
    assert freed.skipped[0].error == ""
    assert fine.closed(2.0).state is PlanState.DONE


def test_when_ended_waits_for_all_needs_whatever_came_of_them() -> None:
    run = run_of(Task("a", "k"), Task("b", "k"), Task("report", "k", needs=("a", "b"), when=When.ENDED))
    run.begin(0.0)
    assert end(run, "a", TaskState.FAILED).ready == []
    assert [task.task.name for task in end(run, "b", TaskState.DONE).ready] == ["report"]


def test_what_needs_a_task_that_was_not_asked_for_is_skipped_without_an_error() -> None:
    run = run_of(Task("a", "k"), Task("alarm", "k", needs=("a",), when=When.FAILED), Task("c", "k", needs=("alarm",)))
    run.begin(0.0)
    freed = end(run, "a", TaskState.DONE)
    assert [(task.task.name, task.error) for task in freed.skipped] == [("alarm", ""), ("c", "")]
    assert run.closed(2.0).state is PlanState.DONE


def test_a_chain_of_100_000_tasks_is_skipped_without_recursion() -> None:
    names = [f"t{number}" for number in range(100_000)]
    chain = [Task(name, "k", needs=(before,)) for before, name in pairwise(names)]
    run = run_of(Task(names[0], "k"), *chain)
    run.begin(0.0)
    assert len(end(run, "t0", TaskState.FAILED).skipped) == 99_999


def test_reopening_a_task_reopens_what_was_skipped_for_it() -> None:
    run = run_of(Task("a", "k"), Task("b", "k", needs=("a",)), Task("c", "k"))
    run.begin(0.0)
    end(run, "c", TaskState.DONE)
    end(run, "a", TaskState.FAILED)
    run.record = run.closed(2.0)
    reopened = run.reopen(["a"], 3.0)
    assert {task.task.name for task in reopened} == {"a", "b"}
    assert run.record.state is PlanState.ACTIVE
    assert run.remaining == 2
    assert [task.task.name for task in run.begin(3.0).ready] == ["a"]


def test_the_last_task_closes_the_plan() -> None:
    run = run_of(Task("a", "k"))
    run.begin(0.0)
    done = steps.step(run.tasks["a"], TaskState.DONE, 1.0, "done")
    assert run.is_last(done)
    closed = run.closed(1.0, done)
    assert (closed.state, closed.counts, closed.ended) == (PlanState.DONE, {"done": 1}, 1.0)
    assert run.record.state is PlanState.ACTIVE


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine proves nothing
@given(st.data())
def test_every_plan_comes_to_an_end_and_no_task_runs_before_its_needs(data: st.DataObject) -> None:
    names = [f"t{number}" for number in range(data.draw(st.integers(1, 12)))]
    tasks = [
        Task(
            name,
            "k",
            needs=tuple(data.draw(st.sets(st.sampled_from(names[:place]), max_size=4))) if place else (),
            when=data.draw(st.sampled_from(When)) if place else When.DONE,
        )
        for place, name in enumerate(names)
    ]
    run = run_of(*tasks)
    ready = [task.task.name for task in run.begin(0.0).ready]
    while ready:
        name = ready.pop(data.draw(st.integers(0, len(ready) - 1)))
        assert run.tasks[name].state is TaskState.READY
        needs = [run.tasks[need].state for need in run.specs[name].needs]
        assert all(state.ended for state in needs)
        if run.specs[name].when is When.DONE:
            assert set(needs) <= {TaskState.DONE}
        outcome = data.draw(st.sampled_from([TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED]))
        ready += [task.task.name for task in end(run, name, outcome).ready]
    assert run.remaining == 0
    assert all(task.state.ended for task in run.tasks.values())
    assert run.closed(9.0).state is not PlanState.ACTIVE
