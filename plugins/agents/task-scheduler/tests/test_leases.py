"""When a lease runs out, and when it does not."""

from __future__ import annotations

from aats_core.task import Task

TASK = Task("a", "k")
HELD = [("p/a", 1)]


def started(office, **settings):
    """Return an office in which p/a was given to worker w at time 0."""
    it = office(**settings)
    it.plan("p", TASK)
    it.worker()
    assert it.decide() == [("p/a", "w")]
    return it


def test_heartbeats_keep_a_lease_however_long_the_task_takes(office) -> None:
    it = started(office)

    for _ in range(500):
        it.now += 10.0
        it.worker(running=HELD)
        assert it.expired() == []

    assert it.decide() == []


def test_a_silent_worker_loses_its_tasks_after_the_length_of_the_lease(office) -> None:
    it = started(office)
    assert it.core.wakeup() == 30.0
    it.now = 29.9
    assert it.expired() == []

    it.now = 30.0

    assert it.expired() == [("p/a", 1, "w")]
    assert it.expired() == []
    assert it.core.wakeup() is None


def test_a_worker_that_fell_silent_gets_nothing_more_until_it_is_heard_of(office) -> None:
    it = started(office)
    it.now = 30.0
    it.expired()
    it.ready("p", "a", attempt=2)
    assert it.decide() == []

    it.worker(running=HELD)
    assert it.decide() == []  # its only slot is taken by the attempt that was given up

    it.worker()
    assert it.decide() == [("p/a", "w")]


def test_an_idle_worker_that_falls_silent_is_forgotten(office) -> None:
    it = office()
    it.worker()
    it.now = 30.0
    assert it.expired() == []

    it.plan("p", TASK)

    assert it.decide() == []
    assert "no worker offers kind k" in it.explain("p/a")


def test_a_lost_task_waits_for_the_project_managers_word(office) -> None:
    it = started(office)
    it.now = 30.0
    it.expired()
    it.worker("other")
    assert it.decide() == []

    it.ready("p", "a", attempt=2)

    assert it.decide() == [("p/a", "other")]


def test_an_assignment_that_never_arrives_is_lost_after_a_lease(office) -> None:
    it = started(office)

    for _ in range(4):
        it.now += 10.0
        it.worker()
        assert it.expired() == [] or it.now == 40.0

    it.now = 40.0
    assert it.decide() == []
    it.ready("p", "a", attempt=2)
    assert it.decide() == [("p/a", "w")]


def test_an_assignment_on_its_way_is_not_lost(office) -> None:
    it = started(office)
    it.now = 10.0
    it.worker()
    it.now = 35.0
    it.worker(running=HELD)

    for _ in range(10):
        it.now += 10.0
        assert it.expired() == []
        it.worker(running=HELD)


def test_what_a_worker_left_out_before_it_had_the_task_does_not_count_later(office) -> None:
    it = started(office)
    it.now = 10.0
    it.worker()
    it.now = 20.0
    it.worker(running=HELD)
    it.now = 36.0
    it.worker()
    it.now = 40.0
    assert it.expired() == []

    it.now = 43.5

    assert it.expired() == [("p/a", 1, "w")]


def test_a_task_that_its_worker_has_forgotten_is_lost_within_a_heartbeat(office) -> None:
    """As where the worker was restarted; had the task ended, that would have been heard by then."""
    it = started(office)
    it.now = 10.0
    it.worker(running=HELD)
    it.now = 20.0
    it.worker()
    assert it.expired() == []
    assert it.core.wakeup() == 27.5

    it.now = 27.5

    assert it.expired() == [("p/a", 1, "w")]


def test_a_heartbeat_before_the_result_does_not_lose_the_task(office) -> None:
    it = started(office)
    it.now = 10.0
    it.worker(running=HELD)
    it.now = 20.0
    it.worker()
    it.now = 21.0
    it.end("p/a")

    it.now = 45.0
    it.worker()

    assert it.expired() == []


def test_a_worker_that_took_leave_loses_what_it_still_held_after_a_lease(office) -> None:
    it = started(office)
    it.now = 5.0
    it.core.worker_gone("w", it.now)
    assert it.expired() == []
    it.plan("q", TASK)
    assert it.decide() == []

    it.now = 35.0

    assert it.expired() == [("p/a", 1, "w")]


def test_a_worker_that_took_leave_and_came_back_is_a_worker_again(office) -> None:
    it = office()
    it.worker()
    it.core.worker_gone("w", 0.0)
    it.now = 20.0
    it.worker()
    it.now = 30.0
    assert it.expired() == []
    it.plan("p", TASK)

    assert it.decide() == [("p/a", "w")]
    it.now = 50.0
    assert it.expired() == [("p/a", 1, "w")]


def test_a_lease_of_before_a_restart_goes_on(office) -> None:
    it = office()
    it.plan("p", TASK)
    it.running("p", "a", "w")
    assert it.decide() == []

    it.now = 9.0
    it.worker(running=HELD)
    it.now = 35.0

    assert it.expired() == []


def test_a_worker_that_never_comes_back_after_a_restart_loses_its_tasks(office) -> None:
    it = office()
    it.plan("p", TASK)
    it.running("p", "a", "w")

    it.now = 30.0

    assert it.expired() == [("p/a", 1, "w")]


def test_a_worker_that_was_restarted_too_loses_its_tasks_at_once(office) -> None:
    it = office()
    it.plan("p", TASK)
    it.running("p", "a", "w")
    it.now = 0.5
    it.worker()
    assert it.expired() == []

    it.now = 1.5

    assert it.expired() == [("p/a", 1, "w")]


def test_it_does_not_matter_whether_the_worker_or_the_manager_speaks_first(office) -> None:
    it = office()
    it.worker()
    it.plan("p", TASK)
    it.running("p", "a", "w")
    it.now = 1.0
    assert it.expired() == [("p/a", 1, "w")]

    it = office()
    it.worker(running=HELD)
    it.plan("p", TASK)
    it.running("p", "a", "w")
    it.now = 29.0
    assert it.expired() == []
    it.plan("q", TASK)
    assert it.decide() == []  # counted once: as a lease, no longer as a stranger


def test_a_task_said_to_be_ready_while_it_runs_keeps_its_lease(office) -> None:
    """The assignment crossed the message; it is taken back only once the worker turns out not to have it."""
    it = started(office)
    it.ready("p", "a")
    assert it.decide() == []

    it.now = 10.0
    it.worker(running=HELD)
    it.now = 20.0
    it.worker()
    it.now = 27.5
    assert it.expired() == [("p/a", 1, "w")]
    assert it.decide() == [("p/a", "w")]


def test_a_task_said_to_run_after_all_is_not_taken_back(office) -> None:
    it = started(office)
    it.ready("p", "a")
    it.running("p", "a", "w")
    it.now = 30.0

    assert it.expired() == [("p/a", 1, "w")]
    it.worker()
    assert it.decide() == []


def test_a_task_that_runs_elsewhere_than_thought_is_followed(office) -> None:
    it = started(office)
    it.worker("other")

    it.running("p", "a", "other")

    it.plan("q", TASK)
    assert it.decide() == [("q/a", "w")]
