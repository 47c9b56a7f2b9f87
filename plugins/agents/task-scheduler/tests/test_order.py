"""In which order tasks get workers."""

from __future__ import annotations

from aats_agent_task_scheduler.estimates import Estimates

from aats_core.task import Task


def test_the_most_urgent_priority_goes_first(office) -> None:
    it = office()
    it.plan("p", Task("low", "k", priority=9), Task("high", "k", priority=1), Task("plain", "k"))
    it.worker()

    assert it.order() == ["p/high", "p/plain", "p/low"]


def test_a_task_without_a_priority_has_its_plans(office) -> None:
    it = office()
    it.plan("late", Task("a", "k"), priority=8)
    it.plan("soon", Task("a", "k"), Task("b", "k", priority=9), priority=2)
    it.worker()

    assert it.order() == ["soon/a", "late/a", "soon/b"]


def test_among_equal_priorities_the_earliest_deadline_goes_first(office) -> None:
    it = office()
    it.plan("p", Task("none", "k"), Task("later", "k", deadline=900.0), Task("sooner", "k", deadline=500.0))
    it.worker()

    assert it.order() == ["p/sooner", "p/later", "p/none"]


def test_priority_comes_before_deadline(office) -> None:
    it = office()
    it.plan("p", Task("hurry", "k", deadline=5.0, priority=6), Task("important", "k", priority=4))
    it.worker()

    assert it.order() == ["p/important", "p/hurry"]


def test_a_deadline_counts_less_what_has_to_follow(office) -> None:
    """Of two equal deadlines, the one with more work behind it is nearer."""
    it = office()
    it.plan("short", Task("a", "k"), deadline=100.0)
    it.plan("long", Task("a", "k"), Task("b", "k", needs=("a",), estimate=60.0), deadline=120.0)
    it.worker()

    assert it.decide() == [("long/a", "w")]


def test_the_longest_chain_goes_first(office) -> None:
    it = office()
    it.plan(
        "p",
        Task("leaf", "k", estimate=5.0),
        Task("root", "k", estimate=1.0),
        Task("after", "k", needs=("root",), estimate=6.0),
    )
    it.worker()

    assert it.order() == ["p/root", "p/leaf"]


def test_the_longest_chain_is_known_from_what_was_learned(office) -> None:
    estimates = Estimates()
    estimates.learn("k", "a", "a", 3.0)
    estimates.learn("k", "b", "b", 50.0)
    it = office(estimates=estimates)
    it.plan("p", Task("a", "k"), Task("b", "k"))
    it.worker()

    assert it.order() == ["p/b", "p/a"]


def test_what_is_learned_while_a_plan_runs_reorders_what_waits(office) -> None:
    it = office()
    it.plan("p", *(Task(f"{name}-{n}", "k") for n in range(1, 4) for name in ("quick", "slow")))
    it.worker()
    assert it.decide() == [("p/quick-1", "w")]
    it.end("p/quick-1", seconds=1.0)
    assert it.decide() == [("p/slow-1", "w")]

    it.end("p/slow-1", seconds=90.0)

    assert it.decide() == [("p/slow-2", "w")]


def test_otherwise_what_was_submitted_first_goes_first(office) -> None:
    it = office()
    it.plan("one", Task("b", "k"), Task("a", "k"))
    it.worker()

    assert it.order() == ["one/b", "one/a"]


def test_order_holds_across_kinds_and_resources_that_share_a_worker(office) -> None:
    it = office()
    it.plan(
        "p",
        Task("a", "x", estimate=1.0, resources={"cpu": 1}),
        Task("b", "y", estimate=3.0),
        Task("c", "x", estimate=2.0),
        Task("d", "x", estimate=9.0, priority=6),
    )
    it.worker(kinds=("x", "y"), resources={"cpu": 1})

    assert it.order() == ["p/b", "p/c", "p/a", "p/d"]


def test_plans_of_equal_urgency_take_turns(office) -> None:
    it = office()
    it.plan("big", *(Task(f"t{n}", "k", estimate=100.0) for n in range(50)))
    it.plan("small", *(Task(f"t{n}", "k") for n in range(3)))
    it.worker()

    assert [task_id.partition("/")[0] for task_id in it.order()[:7]] == ["big", "small"] * 3 + ["big"]


def test_the_plan_that_has_fewest_workers_gets_the_next_one(office) -> None:
    it = office()
    it.plan("big", *(Task(f"t{n}", "k") for n in range(50)))
    it.worker(slots=4)
    assert len(it.decide()) == 4

    it.plan("small", *(Task(f"t{n}", "k") for n in range(10)))
    it.end("big/t0")
    assert it.decide() == [("small/t0", "w")]
    it.end("big/t1")
    assert it.decide() == [("small/t1", "w")]
    it.end("big/t2")
    assert it.decide() == [("big/t4", "w")]


def test_turns_are_counted_for_each_group_of_workers(office) -> None:
    """That a plan is served well elsewhere does not cost it its turn here."""
    it = office()
    it.plan("both", *(Task(f"x{n}", "x") for n in range(9)), *(Task(f"y{n}", "y") for n in range(9)))
    it.plan("one", *(Task(f"y{n}", "y") for n in range(9)))
    it.worker("xs", kinds=("x",), slots=9)
    it.worker("ys", kinds=("y",), slots=4)

    plans = [task_id.partition("/")[0] for task_id, worker in it.decide() if worker == "ys"]
    assert sorted(plans) == ["both", "both", "one", "one"]


def test_turns_are_counted_anew_when_workers_change_what_they_offer(office) -> None:
    it = office()
    it.plan("a", *(Task(f"x{n}", "x", priority=1) for n in range(5)), *(Task(f"y{n}", "y") for n in range(3)))
    it.worker("all", kinds=("x", "y"), slots=5)
    assert len(it.decide()) == 5
    it.plan("b", *(Task(f"y{n}", "y") for n in range(3)))
    it.worker("ys", kinds=("y",), slots=1)
    assert it.decide() == [("b/y0", "ys")]  # of a there run five already

    it.worker("all", kinds=("x",), slots=5, running=[(f"a/x{n}", 1) for n in range(5)])
    it.worker("ys", kinds=("y",), slots=2, running=[("b/y0", 1)])

    assert it.decide() == [("a/y0", "ys")]  # of a there runs none here


def test_a_plan_that_waits_long_becomes_more_urgent_until_it_is_served(office) -> None:
    it = office(ageing=100.0)
    it.plan("low", Task("a", "k"), Task("b", "k"), priority=6)
    it.plan("high", *(Task(f"t{n}", "k") for n in range(9)), priority=4)
    it.worker()

    served = []
    for _ in range(5):
        [(task_id, _)] = it.decide()
        served.append(task_id)
        it.now += 70.0
        it.end(task_id)

    # Aged by two steps after 200 s, it takes its turn; by three after 210 s.
    assert served == ["high/t0", "high/t1", "high/t2", "low/a", "high/t3"]


def test_ageing_does_not_disturb_the_order_within_a_plan(office) -> None:
    it = office(ageing=1.0)
    it.plan("p", Task("leaf", "k"), Task("root", "k"), Task("after", "k", needs=("root",), estimate=50.0))
    it.now = 500.0
    it.worker()

    assert it.order() == ["p/root", "p/leaf"]


def test_a_plan_that_has_waited_stops_ageing_when_nothing_of_it_waits(office) -> None:
    it = office(ageing=10.0)
    it.plan("p", Task("a", "k"), priority=9)
    it.now = 25.0
    it.worker()
    assert it.decide() == [("p/a", "w")]
    it.now = 200.0
    it.end("p/a", final=False)
    assert it.decide() == []

    it.ready("p", "a", attempt=2)
    it.plan("q", Task("a", "k"), priority=8)
    it.now = 205.0

    assert it.decide() == [("q/a", "w")]
