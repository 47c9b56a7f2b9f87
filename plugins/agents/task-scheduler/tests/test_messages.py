"""What the core makes of what it is told: twice, too late, again after a restart."""

from __future__ import annotations

import gc
import weakref

from aats_core.task import PlanAdded, Task

CHAIN = (Task("a", "k"), Task("b", "k", needs=("a",)))


def test_a_task_is_not_assigned_before_it_is_called_ready(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.worker(slots=5)
    assert it.decide() == [("p/a", "w")]

    it.end("p/a")
    assert it.decide() == []

    it.ready("p", "b")
    assert it.decide() == [("p/b", "w")]


def test_a_task_called_ready_twice_is_assigned_once(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.ready("p", "a")
    it.worker(slots=5)
    assert it.decide() == [("p/a", "w")]

    it.ready("p", "a")

    assert it.decide() == []


def test_an_attempt_of_the_past_is_not_assigned(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.ready("p", "a", attempt=3)
    it.ready("p", "a", attempt=2)
    it.worker()

    assert [(each.name, each.attempt) for each in it.core.decide(0.0)] == [("a", 3)]


def test_the_next_attempt_takes_the_place_of_one_that_runs(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.worker()
    it.decide()

    it.ready("p", "a", attempt=2)

    assert [(each.name, each.attempt) for each in it.core.decide(0.0)] == [("a", 2)]


def test_the_end_of_an_attempt_of_the_past_changes_nothing(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.ready("p", "a", attempt=2)
    it.worker()
    it.decide()

    it.end("p/a", attempt=1, final=False)

    it.plan("q", Task("a", "k"))
    assert it.decide() == []


def test_a_task_that_was_cancelled_while_it_waited_is_not_assigned(office) -> None:
    it = office()
    it.plan("p", *CHAIN, Task("c", "k"))
    it.end("p/a", "", attempt=0)
    it.worker(slots=5)

    assert it.decide() == [("p/c", "w")]


def test_a_refused_assignment_frees_its_worker(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.worker()
    it.decide()
    it.plan("q", Task("a", "k"))

    it.end("p/a", final=True)

    assert it.decide() == [("q/a", "w")]


def test_a_task_that_ended_can_be_run_again(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.worker()
    it.decide()
    it.end("p/a")

    assert it.explain("p/b").startswith("all that it needs has ended")

    it.core.add_plan(PlanAdded("p", 5, None, CHAIN))
    assert it.explain("p/b") == "it needs a (waiting)"
    it.ready("p", "a", attempt=2)

    assert it.decide() == [("p/a", "w")]


def test_what_waits_and_runs_stays_so_when_the_plan_is_told_again(office) -> None:
    it = office()
    it.plan("p", *CHAIN, Task("c", "k"), Task("d", "k"))
    it.worker()
    assert it.decide() == [("p/a", "w")]

    it.plan("p", *CHAIN, Task("c", "k"), Task("d", "k"))
    assert it.decide() == []

    it.end("p/a")
    assert it.order() == ["p/c", "p/d"]


def test_a_task_waits_for_its_time(office) -> None:
    it = office()
    it.plan("p")
    it.plan("q", Task("a", "k", needs=("ghost",)))
    it.worker()
    it.ready("q", "a", not_before=50.0)
    assert it.decide() == []
    assert it.core.wakeup() == 30.0  # a lease from the last heartbeat
    it.now = 29.0
    it.worker()

    it.now = 49.9
    assert it.decide() == []
    it.worker()
    it.now = 50.0
    assert it.decide() == [("q/a", "w")]


def test_a_time_that_was_put_off_is_waited_for(office) -> None:
    it = office()
    it.plan("p", Task("a", "k", needs=("ghost",)))
    it.worker()
    it.ready("p", "a", not_before=10.0)
    it.ready("p", "a", attempt=2, not_before=20.0)

    it.now = 15.0
    assert it.decide() == []
    it.now = 20.0
    assert it.decide() == [("p/a", "w")]


def test_a_removed_plan_leaves_nothing_behind(office) -> None:
    it = office()
    it.plan("p", *CHAIN, Task("c", "k"), Task("late", "k", needs=("a",)))
    it.ready("p", "late", not_before=5.0)
    it.worker()
    it.decide()

    it.core.remove_plan("p")
    it.core.remove_plan("p")

    it.now = 10.0
    it.plan("q", Task("a", "k"))
    assert it.decide() == [("q/a", "w")]
    assert "does not know it" in it.explain("p/a")


def test_removed_plans_are_let_go_even_if_no_worker_ever_offered_their_kind(office) -> None:
    it = office()
    plans = []
    for number in range(200):
        it.plan(f"p{number}", *CHAIN)
        it.decide()
        plans.append(weakref.ref(it.core._plans[f"p{number}"]))
        it.core.remove_plan(f"p{number}")
    gc.collect()

    assert sum(plan() is not None for plan in plans) < 30


def test_a_plan_can_come_back(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"))
    it.worker()
    it.decide()
    it.end("p/a")
    it.core.remove_plan("p")

    it.plan("p", Task("a", "k"))

    assert it.decide() == [("p/a", "w")]


def test_what_is_said_of_an_unknown_plan_is_passed_over(office) -> None:
    it = office()
    it.worker()
    it.ready("ghost", "a")
    it.running("ghost", "a", "w")
    it.end("ghost/a", seconds=3.0)
    it.core.worker_gone("ghost", 0.0)

    assert it.decide() == []
    assert it.expired() == []


def test_an_unknown_task_of_a_known_plan_is_passed_over(office) -> None:
    it = office()
    it.plan("p", *CHAIN)
    it.ready("p", "ghost")

    assert "does not know it" in it.explain("p/ghost")


def test_after_a_restart_the_same_tasks_run_in_the_same_order(office) -> None:
    tasks = [Task(f"t{n}", "k", estimate=float(n), priority=1 + n % 3) for n in range(9)]
    before, after = office(), office()
    before.plan("p", *tasks)
    before.worker(slots=2)
    running = before.decide()

    after.worker(slots=2, running=[(task_id, 1) for task_id, _ in running])
    after.plan("p", *tasks)
    for task_id, worker in running:
        after.running("p", task_id.partition("/")[2], worker)
    assert after.decide() == []

    for it in (before, after):
        for task_id, _ in running:
            it.end(task_id)
    assert before.order() == after.order()
