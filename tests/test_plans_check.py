"""What must be true of a plan, wherever it comes from."""

from __future__ import annotations

import pytest

from aats_core.plans import check_plan
from aats_core.task import Plan, Retries, Task, When

NOW = 1_700_000_000.0


def check(*tasks, kinds=None, durations=None, **plan):
    return check_plan(Plan(plan.pop("name", "p"), tasks, **plan), kinds=kinds, now=NOW, durations=durations)


class TestNames:
    @pytest.mark.parametrize("name", ["a", "0", "a.b-c_d", "A" * 128])
    def test_names_of_plans_and_tasks(self, name):
        assert check(Task(name, "k"), name=name) == []

    @pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "_a", "a/b", "ä", "a\n", "A" * 129])
    def test_what_is_no_name(self, name):
        plan, task = check(Task(name, "k"), name=name)

        assert plan.startswith("name: ")
        assert "cannot be a plan's name: a name begins with a letter or digit" in plan
        assert "cannot be a task's name: a name begins with a letter or digit" in task

    def test_tasks_of_the_same_name(self):
        assert check(Task("a", "k"), Task("b", "k"), Task("a", "l")) == ["tasks.a: 2 tasks have this name"]

    def test_a_plan_without_tasks(self):
        assert check() == ["tasks: there are no tasks"]


class TestKinds:
    def test_a_kind_that_nobody_runs(self):
        assert check(Task("a", "shel.run"), Task("b", "k"), kinds={"shell.run", "k"}) == [
            "tasks.a.kind: nobody runs tasks of kind 'shel.run' (did you mean 'shell.run'?)"
        ]

    def test_those_there_are_are_listed_where_none_is_like_it(self):
        assert check(Task("a", "x"), kinds=["l.run", "k.run"]) == [
            "tasks.a.kind: nobody runs tasks of kind 'x' (known: k.run, l.run)"
        ]

    def test_any_kind_will_do_where_it_is_not_known_who_runs_what(self):
        assert check(Task("a", "x")) == []
        assert check(Task("a", "x"), kinds=[]) == ["tasks.a.kind: nobody runs tasks of kind 'x'"]

    def test_a_task_without_a_kind(self):
        assert check(Task("a", "")) == ["tasks.a: has no kind"]


class TestNeeds:
    def test_a_need_that_is_no_task(self):
        assert check(Task("lint", "k"), Task("a", "k", needs=("lnit",))) == [
            "tasks.a.needs[0]: no task is named 'lnit' (did you mean 'lint'?)"
        ]

    def test_a_need_that_is_listed_twice(self):
        assert check(Task("a", "k"), Task("b", "k", needs=("a", "a"))) == ["tasks.b.needs[1]: 'a' is listed twice"]

    def test_a_task_that_needs_itself(self):
        assert check(Task("a", "k", needs=("a",))) == ["tasks.a.needs[0]: a task cannot need itself"]

    def test_a_circle_is_named(self):
        problems = check(Task("a", "k", needs=("c",)), Task("b", "k", needs=("a",)), Task("c", "k", needs=("b",)))

        assert problems == ["tasks.a.needs: the tasks need each other in a circle: a -> c -> b -> a"]

    def test_a_long_circle_is_cut_short(self):
        (problem,) = check(*(Task(f"t{index}", "k", needs=(f"t{(index + 1) % 50}",)) for index in range(50)))

        assert problem.endswith("t0 -> t1 -> t2 -> t3 -> t4 -> t5 -> ... 40 more ... -> t46 -> t47 -> t48 -> t49 -> t0")

    @pytest.mark.parametrize("when", [When.FAILED, When.ENDED])
    def test_an_outcome_of_no_needs(self, when):
        assert check(Task("a", "k", when=when)) == [
            f"tasks.a.when: {when} asks for the outcome of needs, and the task has none"
        ]


class TestRanges:
    @pytest.mark.parametrize(
        ("task", "problem"),
        [
            ({"priority": 0}, "priority: is 0, must be 1 (most urgent) to 9"),
            ({"priority": 10}, "priority: is 10, must be 1 (most urgent) to 9"),
            ({"timeout": 0.0}, "timeout: must be more than zero"),
            ({"timeout": float("nan")}, "timeout: must be more than zero"),
            ({"estimate": -1.0}, "estimate: must not be negative"),
            ({"resources": {"cpu": -1.0}}, "resources.cpu: must not be negative"),
            ({"resources": {"cpu": float("inf")}}, "resources.cpu: must not be negative"),
            ({"retries": Retries(limit=-1)}, "retries.limit: must not be negative"),
            ({"retries": Retries(backoff=-1.0)}, "retries.backoff: must not be negative"),
            ({"retries": Retries(max_backoff=-1.0)}, "retries.max_backoff: must not be negative"),
            ({"retries": Retries(lost=-1)}, "retries.lost: must not be negative"),
            ({"retries": Retries(factor=0.5)}, "retries.factor: must be 1 to 1000"),
            ({"retries": Retries(factor=1e9)}, "retries.factor: must be 1 to 1000"),
            ({"retries": Retries(jitter=1.1)}, "retries.jitter: must be a fraction from 0 to 1"),
        ],
    )
    def test_a_number_out_of_its_range(self, task, problem):
        assert check(Task("a", "k", **task)) == [f"tasks.a.{problem}"]

    def test_the_priority_of_the_plan(self):
        assert check(Task("a", "k"), priority=-1) == ["priority: is -1, must be 1 (most urgent) to 9"]


class TestDeadlines:
    CHAIN = (
        Task("a", "k", estimate=600.0),
        Task("b", "k", needs=("a",), estimate=1200.0),
        Task("c", "k", needs=("b",)),
        Task("d", "k", estimate=900.0),
    )

    def test_there_is_time_enough(self):
        assert check(*self.CHAIN, deadline=NOW + 1800) == []

    def test_one_that_is_past(self):
        assert check(Task("a", "k", deadline=NOW - 90), deadline=NOW - 3600) == [
            "tasks.a.deadline: was 90s ago",
            "deadline: was 1h ago",
        ]

    def test_one_of_the_plan_that_nobody_could_meet(self):
        assert check(*self.CHAIN, deadline=NOW + 1740) == [
            "deadline: is in 29m and cannot be met even with workers without limit: a -> b takes 30m"
        ]

    def test_one_of_a_task_that_nobody_could_meet(self):
        late = Task("e", "k", needs=("c",), estimate=60.0, deadline=NOW + 1800)

        assert check(*self.CHAIN, late) == [
            "tasks.e.deadline: is in 30m and cannot be met even with workers without limit: a -> b -> c -> e takes 31m"
        ]

    def test_learned_run_times_count_where_there_is_no_estimate(self):
        durations = {"a": 1.0, "c": 1000.0}

        assert check(*self.CHAIN, deadline=NOW + 1800, durations=durations) == [
            "deadline: is in 30m and cannot be met even with workers without limit: a -> b -> c takes 46m40s"
        ]

    def test_what_only_runs_on_failure_does_not_count(self):
        alarm = Task("alarm", "k", needs=("c",), when=When.FAILED, estimate=9000.0)
        after = Task("after", "k", needs=("alarm",), estimate=9000.0)

        assert check(*self.CHAIN, alarm, after, deadline=NOW + 1800) == []

    def test_what_runs_in_any_case_counts(self):
        cleaning = Task("cleaning", "k", needs=("c",), when=When.ENDED, estimate=1.0)

        assert "a -> b -> c -> cleaning takes 30m1s" in check(*self.CHAIN, cleaning, deadline=NOW + 1800)[0]

    def test_needs_of_an_alarm_may_fail_at_once(self):
        alarm = Task("alarm", "k", needs=("b",), when=When.FAILED, estimate=60.0, deadline=NOW + 60)

        assert check(*self.CHAIN, alarm) == []

    def test_a_long_way_is_cut_short(self):
        chain = [Task(f"t{index}", "k", needs=(f"t{index - 1}",) if index else (), estimate=1.0) for index in range(20)]

        (problem,) = check(*chain, deadline=NOW + 10)

        assert problem.endswith(": t0 -> t1 -> t2 -> t3 -> ... 13 more ... -> t17 -> t18 -> t19 takes 20s")


class TestTemplates:
    TASKS = (Task("a.x", "k"), Task("b", "k", needs=("a.x",)), Task("c", "k", needs=("b",)), Task("other", "k"))

    def check(self, text, **plan):
        return check(*self.TASKS, Task("e", "k", {"p": [text]}, needs=("c",)), **plan)

    @pytest.mark.parametrize(
        "text",
        [
            "{{ tasks.c.output }}",
            "{{ tasks.b.output.x[0].y }} {{ tasks.c.error }}",
            '{{ tasks["a.x"].state }}',
            "{{ inputs.i }}",
            "{{ inputs.m.n[1] }}",
            "{{ inputs.none | default(1) }}",
            "{{ inputs.m.nobody | default(1) }}",
            "{{ plan.id }} {{ plan.name }}",
            r"\{{ anything }}",
        ],
    )
    def test_references_to_what_will_be_there(self, text):
        assert self.check(text, inputs={"i": None, "m": {"n": [1, 2]}}) == []

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("{{ tasks.other.output }}", "{{ tasks.other.output }}: 'other' is not among the needs of 'e', nor among"),
            ("{{ tasks.othr.output }}", "{{ tasks.othr.output }}: no task is named 'othr' (did you mean 'other'?)"),
            ("{{ tasks.e.output }}", "{{ tasks.e.output }}: a task cannot use its own outcome"),
            ("{{ tasks.a.x.state }}", '{{ tasks.a.x.state }}: a name with a dot is written in brackets: tasks["a.x"]'),
            ("{{ tasks.c }}", "{{ tasks.c }}: say what of the task: tasks.c.error, tasks.c.output, tasks.c.state"),
            ("{{ tasks.c.result }}", "{{ tasks.c.result }}: say what of the task: "),
            ("{{ tasks.c[0] }}", "{{ tasks.c[0] }}: say what of the task: "),
            ("{{ tasks }}", "{{ tasks }}: tasks must be followed by a name, such as tasks.name"),
            ("{{ tasks[0].output }}", "{{ tasks[0].output }}: tasks must be followed by a name"),
            ("{{ inputs.sorce }}", "{{ inputs.sorce }}: the plan has no input 'sorce' (did you mean 'source'?)"),
            ("{{ inputs.source.x }}", "{{ inputs.source.x }}: inputs.source is text and has no x"),
            ("{{ inputs }}", "{{ inputs }}: inputs must be followed by a name"),
            ("{{ plan.priority }}", "{{ plan.priority }}: plan has only id and name"),
            ("{{ task.c.output }}", "{{ task.c.output }}: a reference begins with inputs, plan, tasks"),
            ("{{ c.output }}", "{{ c.output }}: a reference begins with inputs, plan, tasks"),
            ("{{ tasks.c.output", "'{{ tasks.c.output' is not a reference such as"),
            ("{{ 1 + 1 }}", "'{{ 1 + 1 }}' is not a reference such as"),
        ],
    )  # fmt: skip
    def test_references_to_what_will_not(self, text, problem):
        (found,) = self.check(text, inputs={"source": "."})

        assert found.startswith(f"tasks.e.payload.p[0]: {problem}")

    def test_all_are_found(self):
        task = Task("e", "k", {"a": "{{ inputs.x }} {{ inputs.y }}", "b": "{{ ! }}", "c": "{{ tasks.b.output }}"})

        assert [problem.partition(":")[0] for problem in check(*self.TASKS, task)] == [
            "tasks.e.payload.a",
            "tasks.e.payload.a",
            "tasks.e.payload.b",
            "tasks.e.payload.c",
        ]

    def test_reach_is_right_for_more_tasks_than_one_round_takes(self):
        chain = [
            Task(
                f"t{index}",
                "k",
                f"{{{{ tasks.t{max(index - 2, 0)}.output }}}}" if index > 1 else {},
                needs=(f"t{index - 1}",) if index else (),
            )
            for index in range(1500)
        ]
        stray = Task("stray", "k", "{{ tasks.t1400.output }}", needs=("t1399",))

        assert check(*chain, stray) == [
            "tasks.stray.payload: {{ tasks.t1400.output }}: 't1400' is not among the needs of 'stray', nor among theirs"
        ]

    def test_in_a_circle_nothing_is_said_of_reach(self):
        problems = check(
            Task("a", "k", "{{ tasks.c.output }}", needs=("b",)), Task("b", "k", needs=("a",)), Task("c", "k")
        )

        assert problems == ["tasks.a.needs: the tasks need each other in a circle: a -> b -> a"]


class TestLargePlans:
    def test_a_chain_of_any_length_can_be_checked(self):
        chain = [Task(f"t{index}", "k", needs=(f"t{index - 1}",) if index else ()) for index in range(50_000)]

        assert check(*chain, deadline=NOW + 1) == []

    def test_everything_wrong_with_a_large_plan_is_found_without_comparing_all_names(self):
        tasks = [Task(f"t{index}", "k", "{{ tasks.nobody.output }}", needs=(f"u{index}",)) for index in range(2_000)]

        problems = check(*tasks)

        assert problems[-1] == "and 3000 further problems"
        assert sum("did you mean" in problem for problem in problems) <= 25
