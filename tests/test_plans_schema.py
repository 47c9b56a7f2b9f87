"""What the keys of a plan file hold, and where a problem is said to be."""

from __future__ import annotations

import pytest

from aats_core.errors import Refused
from aats_core.plans import check_plan, parse_plan
from aats_core.task import Retries, Task

NOW = 1_700_000_000.0

BAD = {
    "p.yaml": "tasks:\n  a:\n    kind: k\n    needs:\n      - b\n      - c\n  b: {kind: k}\n",
    "p.json": '{"tasks": {\n"a": {\n"kind": "k",\n"needs": [\n"b",\n"c"]},\n"b": {"kind": "k"}}}',
}


def parse(text, source="plan.yaml", **options):
    return parse_plan(text.encode(), source=source, now=NOW, **options)


def problems_of(text, source="plan.yaml", **options):
    with pytest.raises(Refused) as refused:
        parse(text, source, **options)
    return list(refused.value.problems)


def problem_of(text, source="plan.yaml", **options):
    (problem,) = problems_of(text, source, **options)
    return problem


class TestPlaces:
    @pytest.mark.parametrize("name", BAD)
    def test_a_problem_begins_with_file_line_and_keys(self, name):
        assert problem_of(BAD[name], name).startswith(f"{name}:6: tasks.a.needs[1]: no task is named 'c'")

    def test_a_problem_in_toml_has_no_line(self):
        text = 'tasks.a.kind = "k"\ntasks.a.needs = ["c"]'

        assert problem_of(text, "p.toml").startswith("p.toml: tasks.a.needs[0]: no task is named 'c'")

    def test_a_key_that_is_not_plain_is_put_in_brackets(self):
        assert (
            problem_of("tasks: {a.b: {kind: k, timeout: 0}}")
            == 'plan.yaml:1: tasks["a.b"].timeout: must be more than zero'
        )

    def test_problems_come_in_the_order_of_the_file(self):
        text = 'priority: 12\ntasks:\n  a: {kind: 1}\n  b: {kind: k, needs: [x]}\n  c: {}\nname: "-"\n'

        assert [problem.split(":")[1] for problem in problems_of(text)] == ["1", "3", "4", "5", "6"]

    def test_a_missing_key_is_reported_where_it_is_missing(self):
        assert problem_of("tasks:\n  a:\n    payload: {}\n") == "plan.yaml:2: tasks.a: has no kind"

    def test_an_alias_is_reported_at_its_anchor(self):
        text = "tasks:\n  a: &a\n    kind: k\n    timeout: -1\n  b: *a\n"

        assert [problem.partition(": ")[0] for problem in problems_of(text)] == ["plan.yaml:4", "plan.yaml:4"]

    def test_the_places_of_a_read_plan_serve_later_checks(self):
        source = parse(BAD["p.yaml"].replace("c\n", "b\n").replace("- b\n      - b", "- b"))

        assert check_plan(source.plan, kinds={"l"}, now=NOW, places=source.places) == [
            "plan.yaml:3: tasks.a.kind: nobody runs tasks of kind 'k' (known: l)",
            "plan.yaml:6: tasks.b.kind: nobody runs tasks of kind 'k' (known: l)",
        ]

    def test_the_refusal_counts_its_problems(self):
        with pytest.raises(
            Refused, match=r"^p\.toml: refused, 2 problems\n  p\.toml: a: .*\n  p\.toml: tasks: there are"
        ):
            parse("a = 1", "p.toml")

    def test_many_problems_are_cut_short_with_their_number(self):
        text = "tasks:\n" + "".join(f"  t{index}: {{}}\n" for index in range(1500))

        problems = problems_of(text)

        assert len(problems) == 1001
        assert problems[-1] == "and 500 further problems"


class TestKeys:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("tasks: {a: {kind: k, tiemout: 1}}", "tasks.a.tiemout: a task has no such key (did you mean 'timeout'?)"),
            ("task: {a: {kind: k}}\ntasks: {a: {kind: k}}", "task: a plan has no such key (did you mean 'tasks'?)"),
            (
                "tasks: {a: {kind: k, retries: {times: 3}}}",
                "tasks.a.retries.times: retries has no such key (known: backoff, factor, jitter, limit, lost, max_",
            ),
            (
                "defaults: {needs: [a]}\ntasks: {a: {kind: k}}",
                "defaults.needs: defaults has no such key (known: estimate, kind, priority, resources, retries, ",
            ),
        ],
    )
    def test_an_unknown_key_is_a_problem_with_a_suggestion(self, text, problem):
        assert problem_of(text).startswith(f"plan.yaml:1: {problem}")

    @pytest.mark.parametrize(
        ("task", "problem"),
        [
            ("{}", "a: has no kind"),
            ("[]", "a: a task must be a mapping with at least a kind, such as {kind: shell.run}"),
            ("", "a: a task must be a mapping with at least a kind, such as {kind: shell.run}"),
            ("{kind: 3}", "a.kind: must be text"),
            ("{kind: ''}", "a: has no kind"),
            ("{kind: k, payload: }", "a.payload: is empty, must be a value"),
            ("{kind: k, timeout: }", "a.timeout: is not a time; "),
            ("{kind: k, timeout: soon}", "a.timeout: 'soon' is not a time; "),
            ("{kind: k, estimate: -1}", "a.estimate: must not be negative"),
            ("{kind: k, needs: b}", "a.needs: must be a list of task names, such as [lint, build]"),
            ("{kind: k, needs: [1]}", "a.needs[0]: must be text"),
            ("{kind: k, needs: [[]]}", "a.needs[0]: must be text"),
            ("{kind: k, when: later}", "a.when: must be one of done, failed, ended"),
            ("{kind: k, when: [done]}", "a.when: must be one of done, failed, ended"),
            ("{kind: k, priority: high}", "a.priority: must be a whole number"),
            ("{kind: k, priority: true}", "a.priority: must be a whole number"),
            ("{kind: k, priority: 1.5}", "a.priority: must be a whole number"),
            ("{kind: k, priority: 10}", "a.priority: is 10, must be 1 (most urgent) to 9"),
            ("{kind: k, retries: often}", "a.retries: must be a whole number"),
            ("{kind: k, retries: {limit: x}}", "a.retries.limit: must be a whole number"),
            ("{kind: k, retries: {jitter: .nan}}", "a.retries.jitter: must be a number"),
            ("{kind: k, resources: [cpu]}", "a.resources: must be a mapping of keys to values"),
            ("{kind: k, resources: {cpu: many}}", "a.resources.cpu: must be a number"),
            ("{kind: k, resources: {cpu: .inf}}", "a.resources.cpu: must be a number"),
            ("{kind: k, deadline: soon}", "a.deadline: 'soon' is neither a length such as 2h nor a timestamp"),
            ("{kind: k, description: 1}", "a.description: must be text"),
            ("{kind: k, payload: {x: [.inf]}}", "a.payload.x[0]: is nothing that JSON can carry"),
            ("{kind: k, payload: 99999999999999999999}", "a.payload: is nothing that JSON can carry"),
        ],
    )
    def test_a_value_of_the_wrong_type_is_a_problem(self, task, problem):
        assert problem_of(f"tasks: {{a: {task}}}").startswith(f"plan.yaml:1: tasks.{problem}")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("{}", "there are no tasks"),
            ("tasks: {}", "there are no tasks"),
            ("tasks: [a]", "must be a mapping of keys to values"),
            ("tasks:", "is empty, must be a mapping of keys to values"),
        ],
    )
    def test_a_plan_has_tasks(self, text, problem):
        assert problem_of(text) == f"plan.yaml:1: tasks: {problem}".replace(":1" if text == "{}" else "::", "")

    def test_half_a_character_is_a_problem(self):
        text = '{"tasks": {"a": {"kind": "k", "payload": ["\\ud800", {"\\udc00": 1}], "description": "\\ud800"}}}'

        assert [problem.split(": ", 2)[1] for problem in problems_of(text, "p.json")] == [
            "tasks.a.payload[0]",
            "tasks.a.payload[1]",
            "tasks.a.description",
        ]

    def test_dates_in_a_payload_become_text(self):
        text = 'tasks.a.kind = "k"\ntasks.a.payload = [2024-01-31, 10:30:00, 2024-01-31T10:30:00Z]'

        assert parse(text, "p.toml").plan.tasks[0].payload == ["2024-01-31", "10:30:00", "2024-01-31T10:30:00+00:00"]

    def test_a_whole_number_may_be_written_with_a_point(self):
        assert parse("tasks: {a: {kind: k, priority: 2.0}}").plan.tasks[0].priority == 2


class TestDefaults:
    def test_they_hold_for_tasks_that_do_not_say_otherwise(self):
        text = (
            "defaults: {kind: k, priority: 2, timeout: 1m, retries: {limit: 3, backoff: 9}, resources: {cpu: 1}}\n"
            "tasks: {a: {}, b: {kind: l, timeout: 2m, retries: 1}}"
        )

        first, second = parse(text).plan.tasks

        assert first == Task("a", "k", priority=2, timeout=60.0, retries=Retries(3, 9.0), resources={"cpu": 1.0})
        assert second == Task("b", "l", priority=2, timeout=120.0, retries=Retries(1), resources={"cpu": 1.0})

    def test_what_is_wrong_with_them_is_one_problem(self):
        text = "defaults: {kind: k, priority: 0, retries: {limit: -1}}\ntasks: {a: {}, b: {}}"

        assert problems_of(text) == [
            "plan.yaml:1: defaults.priority: is 0, must be 1 (most urgent) to 9",
            "plan.yaml:1: defaults.retries.limit: must not be negative",
        ]

    def test_they_are_a_mapping(self):
        assert (
            problem_of("defaults: 3\ntasks: {a: {kind: k}}")
            == "plan.yaml:1: defaults: must be a mapping of keys to values"
        )


def test_unknown_kinds_are_found_in_the_same_go():
    text = "tasks:\n  a: {kind: shel.run}\n  b: {kind: k, timeout: -1}\n"

    assert problems_of(text, kinds=["shell.run", "k"]) == [
        "plan.yaml:2: tasks.a.kind: nobody runs tasks of kind 'shel.run' (did you mean 'shell.run'?)",
        "plan.yaml:3: tasks.b.timeout: must not be negative",
    ]
