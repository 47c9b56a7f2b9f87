"""Which worker gets a task, and which tasks get none."""

from __future__ import annotations

from aats_core.task import Task


def tasks(count: int, **common) -> list[Task]:
    return [Task(f"t{number}", "k", **common) for number in range(count)]


def test_a_worker_gets_as_many_tasks_as_it_has_slots(office) -> None:
    it = office()
    it.plan("p", *tasks(5))
    it.worker(slots=3)

    assert len(it.decide()) == 3
    assert it.decide() == []

    it.end("p/t1")
    assert it.decide() == [("p/t3", "w")]


def test_no_worker_means_no_assignment(office) -> None:
    it = office()
    it.plan("p", *tasks(1))
    it.worker(kinds=("other",))

    assert it.decide() == []


def test_a_worker_that_joins_later_gets_what_waits(office) -> None:
    it = office()
    it.plan("p", *tasks(2))
    assert it.decide() == []

    it.worker("late", slots=2)

    assert it.decide() == [("p/t0", "late"), ("p/t1", "late")]


def test_the_least_loaded_worker_is_chosen(office) -> None:
    it = office()
    it.plan("p", *tasks(6))
    it.worker("small", slots=2)
    it.worker("large", slots=4)

    chosen = [worker for _, worker in it.decide()]

    assert sorted(chosen) == ["large"] * 4 + ["small"] * 2
    assert sorted(chosen[:3]) == ["large", "large", "small"]


def test_among_equals_the_worker_that_can_do_least_else_is_chosen(office) -> None:
    it = office()
    it.plan("p", *tasks(1))
    it.worker("both", kinds=("k", "other"))
    it.worker("only", kinds=("k",))

    assert it.decide() == [("p/t0", "only")]


def test_resources_are_never_given_twice(office) -> None:
    it = office()
    it.plan("p", *tasks(5, resources={"cpu": 1.5}))
    it.worker(slots=9, resources={"cpu": 4})
    assert len(it.decide()) == 2

    it.end("p/t0")

    assert len(it.decide()) == 1


def test_rounding_does_not_lose_resources(office) -> None:
    it = office()
    it.plan("p", *tasks(30, resources={"cpu": 0.1}))
    it.worker(slots=30, resources={"cpu": 1})

    for _ in range(20):
        decided = it.decide()
        assert len(decided) <= 10
        for task_id, _ in decided:
            it.end(task_id)
        if not decided:
            break
    it.plan("q", *tasks(10, resources={"cpu": 0.1}))
    assert len(it.decide()) == 10


def test_what_rounding_leaves_behind_goes_when_a_worker_is_idle(office) -> None:
    it = office()
    it.plan("p", *tasks(3, resources={"cpu": 0.1}))
    it.worker(slots=3, resources={"cpu": 1})
    for task_id, _ in it.decide():
        it.end(task_id)

    assert it.core._pool.workers["w"].used == {}


def test_a_task_that_needs_more_than_any_worker_has_is_never_assigned(office) -> None:
    it = office()
    it.plan("p", *tasks(1, resources={"cpu": 4}), Task("small", "k", resources={"cpu": 1}))
    it.worker("build", slots=4, resources={"cpu": 2})

    assert it.decide() == [("p/small", "build")]
    assert "it needs cpu 4; worker build offers cpu 2" in it.explain("p/t0")


def test_a_resource_that_no_worker_knows_is_not_there(office) -> None:
    it = office()
    it.plan("p", *tasks(1, resources={"gpu": 1}))
    it.worker("build", resources={"cpu": 2})

    assert it.decide() == []
    assert "worker build offers gpu 0" in it.explain("p/t0")


def test_a_draining_worker_gets_nothing_and_keeps_what_it_has(office) -> None:
    it = office()
    it.plan("p", *tasks(2))
    it.worker(slots=2)
    it.decide()
    it.plan("q", *tasks(2))
    it.worker(slots=4, running=[("p/t0", 1), ("p/t1", 1)], draining=True)
    assert it.decide() == []

    it.now = 20.0
    it.worker(slots=4, running=[("p/t0", 1), ("p/t1", 1)], draining=True)
    it.now = 40.0
    assert it.expired() == []

    it.worker(slots=4, running=[("p/t0", 1), ("p/t1", 1)])
    assert len(it.decide()) == 2


def test_a_draining_team_assigns_nothing(office) -> None:
    it = office()
    it.plan("p", *tasks(1))
    it.worker()
    it.core.draining = True

    assert it.decide() == []


def test_a_worker_can_change_what_it_offers(office) -> None:
    it = office()
    it.plan("p", Task("a", "x"), Task("b", "y"))
    it.worker(kinds=("x",), slots=2)
    assert it.decide() == [("p/a", "w")]

    it.worker(kinds=("x", "y"), slots=2, running=[("p/a", 1)])
    assert it.decide() == [("p/b", "w")]

    it.plan("q", Task("a", "x"))
    it.worker(kinds=("y",), slots=3, running=[("p/a", 1), ("p/b", 1)])
    assert it.decide() == []


def test_what_a_worker_runs_without_a_lease_takes_slots_too(office) -> None:
    """An attempt that was given up may still be running there."""
    it = office()
    it.plan("p", *tasks(3))
    it.worker(slots=2, running=[("ghost/a", 3)])
    assert len(it.decide()) == 1

    it.worker(slots=2, running=[("p/t0", 1), ("ghost/a", 3)])
    assert it.decide() == []
    it.worker(slots=2, running=[("p/t0", 1)])
    assert len(it.decide()) == 1


def test_an_attempt_that_goes_on_after_its_end_takes_a_slot_from_the_second_heartbeat_on(office) -> None:
    it = office()
    it.plan("p", *tasks(2))
    it.worker()
    it.decide()
    it.worker(running=[("p/t0", 1)])
    it.end("p/t0", final=True)
    for _ in range(2):
        it.worker(running=[("p/t0", 1)])

    assert it.decide() == []


def test_what_is_next_to_nothing_can_be_needed_where_there_is_nothing(office) -> None:
    it = office(reserve_after=0.0)
    it.plan("p", *tasks(2, resources={"cpu": 1e-12}))
    it.worker()

    assert len(it.decide()) == 1
    assert "number 1 in line" in it.explain("p/t1")


def test_a_heartbeat_older_than_the_end_of_a_task_does_not_block_its_slot(office) -> None:
    it = office()
    it.plan("p", *tasks(2))
    it.worker()
    it.decide()
    it.end("p/t0")

    it.worker(running=[("p/t0", 1)])

    assert it.decide() == [("p/t1", "w")]


def test_small_tasks_do_not_keep_a_big_one_waiting_for_ever(office) -> None:
    it = office(reserve_after=60.0)
    it.plan("p", Task("big", "k", resources={"cpu": 4}, estimate=9.0), *tasks(99, resources={"cpu": 1}))
    it.worker(slots=8, resources={"cpu": 4})
    first = it.decide()
    assert first == [("p/big", "w")]
    it.end("p/big", final=False)
    running = [task_id for task_id, _ in it.decide()]
    assert len(running) == 4
    it.ready("p", "big", attempt=2)

    for _ in range(70):
        it.now += 1.0
        it.end(running.pop(0))
        running += [task_id for task_id, _ in it.decide()]
        if "p/big" in running:
            break

    assert running == ["p/big"]
    assert it.now == 63.0  # the worker is held free from 60 s on, until the four that ran have ended


def test_only_one_worker_is_kept_free_for_a_big_task(office) -> None:
    it = office(reserve_after=0.0)
    for name in ("a", "b"):
        it.worker(name, slots=8, resources={"cpu": 4})
    it.plan("small", *tasks(2, resources={"cpu": 1}))
    assert len(it.decide()) == 2
    it.plan("big", *tasks(1, resources={"cpu": 4}), priority=1)
    it.plan("more", *tasks(9, resources={"cpu": 1}))

    decided = it.decide()

    assert [task_id.partition("/")[0] for task_id, _ in decided] == ["more"] * 3
    assert len({worker for _, worker in decided}) == 1
