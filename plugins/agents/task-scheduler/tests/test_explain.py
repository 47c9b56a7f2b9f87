"""Why a task does not run yet, in words."""

from __future__ import annotations

from aats_core.task import Task, Wait


def test_it_names_the_needs_that_are_open_and_their_states(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"), Task("b", "k"), Task("c", "k"), Task("d", "k", needs=("a", "b", "c")))
    it.worker()
    it.decide()
    it.end("p/a")
    it.decide()

    assert it.explain("p/d") == "it needs b (running on w), c (ready)"


def test_it_does_not_name_hundreds_of_needs(office) -> None:
    it = office()
    needs = [Task(f"t{n}", "k") for n in range(300)]
    it.plan("p", *needs, Task("last", "k", needs=tuple(task.name for task in needs)))

    assert it.explain("p/last").endswith("t4 (ready) and 295 more")


def test_it_says_when_the_next_attempt_begins(office) -> None:
    it = office()
    it.plan("p", Task("a", "k", needs=("ghost",)))
    it.now = 10.0
    it.ready("p", "a", attempt=2, not_before=22.4)

    assert it.explain("p/a") == "attempt 2 begins in 12 s, not before"


def test_it_says_that_no_worker_offers_the_kind(office) -> None:
    it = office()
    it.plan("p", Task("a", "shell.run"))
    it.worker(kinds=("http.request",))

    assert it.explain("p/a") == "no worker offers kind shell.run"


def test_it_says_what_resources_are_short_for_good(office) -> None:
    it = office()
    it.plan("p", Task("a", "k", resources={"cpu": 4}))
    it.worker("build", resources={"cpu": 2})
    it.worker("tiny")

    assert it.explain("p/a") == (
        "no worker has enough: it needs cpu 4; worker build offers cpu 2, worker tiny offers cpu 0"
    )


def test_it_says_what_resources_are_in_use(office) -> None:
    it = office()
    it.plan("p", Task("a", "k", resources={"cpu": 3}), Task("b", "k", resources={"cpu": 3}))
    it.worker("build", slots=4, resources={"cpu": 4})
    it.decide()

    assert it.explain("p/b") == "it is number 1 in line for kind k: it needs cpu 3, in use on build (free: cpu 1)"


def test_it_says_how_many_workers_are_busy_and_the_place_in_line(office) -> None:
    it = office()
    it.plan("p", *(Task(f"t{n}", "k") for n in range(6)))
    it.worker("one")
    assert it.decide()
    assert it.explain("p/t3") == "it is number 3 in line for kind k: the only worker is busy"

    it.worker("two")
    assert it.decide()
    assert it.explain("p/t3") == "it is number 2 in line for kind k: all 2 workers are busy"


def test_the_place_in_line_counts_the_turns_of_other_plans(office) -> None:
    it = office()
    it.plan("big", *(Task(f"t{n}", "k") for n in range(100)))
    it.plan("small", *(Task(f"t{n}", "k") for n in range(3)))
    it.plan("urgent", *(Task(f"t{n}", "k") for n in range(10)), priority=1)
    it.plan("later", *(Task(f"t{n}", "k") for n in range(10)), priority=9)
    it.worker("busy", running=[("ghost/a", 1)])

    assert it.explain("small/t2").startswith("it is number 16 in line")
    assert it.explain("big/t50").startswith("it is number 64 in line")
    assert it.explain("urgent/t0").startswith("it is number 1 in line")
    assert it.explain("later/t0").startswith("it is number 114 in line")


def test_the_place_in_line_is_kept(office) -> None:
    """Nothing else happening, the task that is number k gets the k-th worker."""
    it = office()
    it.plan("a", *(Task(f"t{n}", "k", estimate=float(n)) for n in range(7)))
    it.plan("b", *(Task(f"t{n}", "k", priority=4) for n in range(7)))
    it.plan("c", *(Task(f"t{n}", "k", resources={"cpu": n % 2}) for n in range(3)))
    ids = [f"{plan}/t{n}" for plan, count in (("a", 7), ("b", 7), ("c", 3)) for n in range(count)]
    it.worker(resources={"cpu": 1})
    places = {task_id: int(it.explain(task_id).split()[3]) for task_id in ids}

    order = it.order()

    assert [places[task_id] for task_id in order] == list(range(1, 18))


def test_it_says_that_every_worker_drains(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"))
    it.worker("one", draining=True)
    it.worker("two", draining=True)

    assert it.explain("p/a") == "every worker that could run it is draining: one, two"


def test_it_says_that_the_team_drains(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"))
    it.worker()
    it.core.draining = True

    assert it.explain("p/a") == "the team is draining: no task is assigned any more"


def test_it_says_where_a_task_runs_and_that_it_has_ended(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"))
    it.worker()
    it.decide()
    assert it.explain("p/a") == "it runs on worker w as attempt 1"

    it.end("p/a")
    assert it.explain("p/a") == "it has ended"


def test_it_says_that_the_project_manager_has_the_word(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"), Task("b", "k", needs=("a",)))
    it.end("p/a")

    assert it.explain("p/b") == "all that it needs has ended, and the project manager has not released it yet"


def test_it_does_not_know_every_id(office) -> None:
    it = office()

    for task_id in ("", "/", "p", "p/", "p/a/b", "nothing at all"):
        assert it.explain(task_id).startswith("the scheduler does not know it")


def test_names_may_hold_slashes(office) -> None:
    it = office()
    it.plan("p", Task("src/main.c", "k"))

    assert it.explain("p/src/main.c") == "no worker offers kind k"


def test_it_says_that_a_worker_is_kept_free_for_another_task(office) -> None:
    it = office(reserve_after=0.0)
    it.plan("first", Task("a", "k", resources={"cpu": 1}))
    it.worker("build", slots=4, resources={"cpu": 4})
    it.decide()
    it.plan("big", Task("a", "k", resources={"cpu": 4}), priority=1)
    it.plan("p", Task("a", "k", resources={"cpu": 1}))
    assert it.decide() == []

    assert it.explain("p/a") == (
        "it is number 2 in line for kind k: what is free is kept for a task that has waited longer"
    )


def test_of_many_tasks_it_says_which_no_worker_can_take(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"), Task("b", "k"), Task("c", "k", resources={"gpu": 1}), Task("d", "other"))
    it.worker()
    it.decide()

    assert it.explain_many("p/a", "p/b", "p/c", "p/d", "p/ghost") == [
        Wait("it runs on worker w as attempt 1"),
        Wait("the only worker is busy"),
        Wait("no worker has enough: it needs gpu 1; worker w offers gpu 0", stuck=True),
        Wait("no worker offers kind other", stuck=True),
        Wait("the scheduler does not know it: its plan has ended, or has never been submitted"),
    ]


def test_a_task_whose_only_worker_drains_is_stuck(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"))
    it.worker(draining=True)

    assert it.explain_many("p/a") == [Wait("every worker that could run it is draining: w", stuck=True)]


def test_no_task_of_a_draining_team_is_stuck(office) -> None:
    it = office()
    it.plan("p", Task("a", "k"))
    it.core.draining = True

    assert it.explain_many("p/a") == [Wait("the team is draining: no task is assigned any more")]


def test_of_many_tasks_in_line_it_says_the_same_as_of_one_but_for_its_place(office) -> None:
    it = office()
    resources = [{}, {"cpu": 1.0}, {"cpu": 3.0}, {"gpu": 1.0}]
    it.plan("p", *(Task(f"t{n}", "k", resources=resources[n % 4]) for n in range(12)), Task("last", "k", needs=("t0",)))
    it.worker("big", slots=2, resources={"cpu": 4})
    it.worker("small", resources={"cpu": 1})
    it.decide()
    ids = [f"p/t{n}" for n in range(12)] + ["p/last"]

    together = [wait.reason for wait in it.explain_many(*ids)]

    assert together == [it.explain(task).partition(" in line for kind k: ")[2] or it.explain(task) for task in ids]
