"""Plan files, whatever their format: what they hold, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from aats_core.errors import Refused
from aats_core.plans import parse_plan, read_plan
from aats_core.plans.read import MAX_BYTES
from aats_core.task import Plan, Retries, Task, When

NOW = 1_700_000_000.0

FULL = Plan(
    "release-1.4",
    (
        Task("lint", "shell.run", {"command": ["ruff", "check", "."]}, priority=1),
        Task(
            "build",
            "shell.run",
            {"cwd": "{{ inputs.source }}"},
            needs=("lint",),
            deadline=NOW + 3600,
            retries=Retries(limit=3, backoff=2.0, factor=3.0, max_backoff=60.0, jitter=0.0, lost=1),
            timeout=600.0,
            resources={"cpu": 1.0},
            estimate=30.0,
            description="makes the wheel",
        ),
        Task("alarm", "http.request", needs=("build",), when=When.FAILED, retries=Retries(limit=2)),
    ),
    priority=3,
    deadline=NOW + 7200,
    inputs={"source": ".", "count": 2, "none": [True, 1.5]},
    description="Build it",
)

YAML = """\
name: release-1.4
description: Build it
priority: 3
deadline: 2h
inputs: {source: ., count: 2, none: [true, 1.5]}
tasks:
  lint: {kind: shell.run, payload: {command: [ruff, check, .]}, priority: 1}
  build:
    kind: shell.run
    payload: {cwd: "{{ inputs.source }}"}
    needs: [lint]
    deadline: 2023-11-14T23:13:20Z
    retries: {limit: 3, backoff: 2s, factor: 3, max_backoff: 1m, jitter: 0, lost: 1}
    timeout: 10m
    resources: {cpu: 1}
    estimate: 30
    description: makes the wheel
  alarm: {kind: http.request, needs: [build], when: failed, retries: 2}
"""

JSON = """\
{"name": "release-1.4", "description": "Build it", "priority": 3, "deadline": "2h",
 "inputs": {"source": ".", "count": 2, "none": [true, 1.5]},
 "tasks": {
  "lint": {"kind": "shell.run", "payload": {"command": ["ruff", "check", "."]}, "priority": 1},
  "build": {"kind": "shell.run", "payload": {"cwd": "{{ inputs.source }}"}, "needs": ["lint"],
   "deadline": "2023-11-14T23:13:20Z", "timeout": "10m", "resources": {"cpu": 1}, "estimate": 30,
   "retries": {"limit": 3, "backoff": "2s", "factor": 3, "max_backoff": "1m", "jitter": 0, "lost": 1},
   "description": "makes the wheel"},
  "alarm": {"kind": "http.request", "needs": ["build"], "when": "failed", "retries": 2}}}
"""

TOML = """\
name = "release-1.4"
description = "Build it"
priority = 3
deadline = "2h"
inputs = { source = ".", count = 2, none = [true, 1.5] }
[tasks]
lint = { kind = "shell.run", payload = { command = ["ruff", "check", "."] }, priority = 1 }
[tasks.build]
kind = "shell.run"
payload.cwd = "{{ inputs.source }}"
needs = ["lint"]
deadline = 2023-11-14T23:13:20Z
retries = { limit = 3, backoff = "2s", factor = 3, max_backoff = "1m", jitter = 0, lost = 1 }
timeout = "10m"
resources.cpu = 1
estimate = 30
description = "makes the wheel"
[tasks.alarm]
kind = "http.request"
needs = ["build"]
when = "failed"
retries = 2
"""


def parse(text, source="plan.yaml", **options):
    return parse_plan(text.encode(), source=source, now=NOW, **options)


def problems_of(text, source="plan.yaml", **options):
    with pytest.raises(Refused) as refused:
        parse(text, source, **options)
    return list(refused.value.problems)


def problem_of(text, source="plan.yaml", **options):
    (problem,) = problems_of(text, source, **options)
    return problem


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "text"),
        [("p.yaml", YAML), ("p.yml", YAML), ("P.YAML", YAML), ("p.json", JSON), ("p.toml", TOML), ("p.yaml", JSON)],
    )
    def test_every_format_holds_the_same(self, tmp_path, name, text):
        file = tmp_path / name
        file.write_text(text)

        assert read_plan(file, now=NOW).plan == FULL

    def test_a_byte_order_mark_does_no_harm(self):
        assert parse("\ufeff" + YAML).plan == FULL

    def test_tasks_keep_the_order_of_the_file(self):
        assert [task.name for task in parse("tasks: {b: {kind: k}, a: {kind: k}, c: {kind: k}}").plan.tasks] == [
            "b",
            "a",
            "c",
        ]

    @pytest.mark.parametrize("name", ["plan.txt", "plan", ".yaml", "plan.yaml.bak"])
    def test_another_suffix_is_refused_with_those_there_are(self, name):
        assert ".yaml, .yml, .json, .toml" in problem_of(YAML, name)

    def test_yaml_is_loaded_only_for_a_yaml_file(self):
        code = (
            "import sys; from aats_core.plans import parse_plan\n"
            'parse_plan(b\'{"tasks": {"a": {"kind": "k"}}}\', source=\'p.json\', now=0)\n'
            "parse_plan(b'tasks.a.kind=\"k\"', source='p.toml', now=0)\n"
            "assert 'yaml' not in sys.modules"
        )

        subprocess.run([sys.executable, "-c", code], check=True)


class TestFiles:
    def test_a_file_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(Refused, match=r"none\.yaml: cannot be read: No such file"):
            read_plan(tmp_path / "none.yaml", now=NOW)

    def test_a_directory_is_refused(self, tmp_path):
        with pytest.raises(Refused, match="cannot be read: Is a directory"):
            read_plan(tmp_path, now=NOW)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
    def test_a_file_without_permission_is_refused(self, tmp_path):
        file = tmp_path / "plan.yaml"
        file.write_text(YAML)
        file.chmod(0)

        with pytest.raises(Refused, match="Permission denied"):
            read_plan(file, now=NOW)

    def test_a_name_that_no_file_can_have_is_refused(self):
        with pytest.raises(Refused, match="cannot be read"):
            read_plan("a\0b.yaml", now=NOW)

    def test_a_file_that_is_too_large_is_refused(self, tmp_path):
        file = tmp_path / "plan.yaml"
        with file.open("wb") as out:
            out.truncate(MAX_BYTES + 1)

        with pytest.raises(Refused, match="larger than 16 MiB"):
            read_plan(file, now=NOW)

    @pytest.mark.parametrize("name", ["p.yaml", "p.json", "p.toml"])
    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_an_empty_file_is_refused(self, name, text):
        assert problem_of(text, name) == f"{name}: is empty"

    @pytest.mark.parametrize(
        ("name", "text"),
        [("p.yaml", "# nothing yet\n"), ("p.yaml", "null"), ("p.json", "null"), ("p.yaml", "---\n...")],
    )
    def test_a_file_that_holds_nothing_is_empty_too(self, name, text):
        assert problem_of(text, name) == f"{name}: is empty"

    @pytest.mark.parametrize(
        ("name", "text"), [("p.yaml", "- a"), ("p.yaml", "text"), ("p.json", "[]"), ("p.json", "3"), ("p.json", '"x"')]
    )
    def test_what_is_no_mapping_is_no_plan(self, name, text):
        assert "a plan is a mapping with the key 'tasks'" in problem_of(text, name)

    @pytest.mark.parametrize("name", ["p.yaml", "p.json", "p.toml"])
    def test_bytes_that_are_no_text_are_refused_with_their_line(self, name):
        with pytest.raises(Refused, match=r"p\.\w+:2: is not text in UTF-8 \(byte 6\)"):
            parse_plan(b"ab\ncde\xff", source=name, now=NOW)


class TestMalformed:
    @pytest.mark.parametrize(
        ("name", "text", "problem"),
        [
            ("p.yaml", "a: 1\nb: 'x", "p.yaml:2: is not valid YAML: "),
            ("p.yaml", "a: [1,\nb: }", "p.yaml:2: is not valid YAML: "),
            ("p.yaml", "a: 1\n\tb: 2", "p.yaml:2: is not valid YAML: "),
            ("p.yaml", "a: 1\nb: \x01", "p.yaml:2: is not valid YAML: control characters are not allowed"),
            ("p.json", '{"a": 1,\n "b" 2}', "p.json:2: is not valid JSON: Expecting ':' delimiter (column 6)"),
            ("p.json", '{"a": 1,\n}', "p.json:2: is not valid JSON: "),
            ("p.json", "{'a': 1}", "p.json:1: is not valid JSON: "),
            ("p.json", '{"a": 1}\n{}', "p.json:2: is not valid JSON: Extra data"),
            ("p.json", "// no comments\n{}", "p.json:1: is not valid JSON: "),
            ("p.toml", "a = 1\nb = ", "p.toml:2: is not valid TOML: Invalid value"),
            ("p.toml", "a = 1\na = 2", "p.toml:2: is not valid TOML: Cannot overwrite a value"),
            ("p.toml", "[tasks.a]\n[tasks.a]", "p.toml:2: is not valid TOML: Cannot declare"),
            ("p.toml", "a = [", "p.toml:1: is not valid TOML: "),
        ],
    )
    def test_text_that_is_not_of_its_format_is_refused_with_the_line(self, name, text, problem):
        assert problem_of(text, name).startswith(problem)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("p.yaml", "[" * 100_000),
            ("p.yaml", "{a: " * 100_000),
            ("p.yaml", "- " * 100_000),
            ("p.json", "[" * 100_000),
            ("p.json", '{"a":' * 100_000),
            ("p.toml", "a = " + "[" * 100_000),
            ("p.toml", "a = " + "{a=" * 100_000),
            ("p.toml", "a" + ".a" * 100_000 + " = 1"),
            ("p.toml", "[" + '"a".' * 100_000 + "a]"),
            ("p.toml", "x = { " + "a . " * 100_000 + "a = 1 }"),
            ("p.yaml", "tasks: {a: {kind: k, payload: " + "[" * 99 + "]" * 99 + "}}"),
            ("p.json", '{"tasks": {"a": {"kind": "k", "payload": ' + "[" * 101 + "]" * 101 + "}}}"),
        ],
    )
    def test_nesting_is_bounded(self, name, text):
        assert "deep" in problem_of(text, name) or "more than 100 parts" in problem_of(text, name)

    @pytest.mark.parametrize(
        ("name", "text"),
        [("p.yaml", "a: %s"), ("p.json", '{"a": %s}'), ("p.toml", "a = %s"), ("p.yaml", "a: !!int %s")],
    )
    def test_a_number_without_end_is_refused(self, name, text):
        assert "a number of too many digits" in problem_of(text % ("9" * 5000), name)

    @pytest.mark.parametrize(
        ("name", "text", "problem"),
        [
            (
                "p.yaml",
                "tasks:\n  a: {kind: k}\n  b:\n    kind: k\n    kind: l\n  a: {kind: k}",
                [
                    "p.yaml:5: tasks.b.kind: is there twice, first in line 4",
                    "p.yaml:6: tasks.a: is there twice, first in line 2",
                ],
            ),
            (
                "p.json",
                '{"tasks": {\n"a": {"kind": "k", "payload": [{"x": 1}, {"x": 1,\n"x": 2}]},\n\n"a": {"kind": "k"}}}',
                [
                    "p.json:3: tasks.a.payload[1].x: is there twice, first in line 2",
                    "p.json:5: tasks.a: is there twice, first in line 2",
                ],
            ),
            ("p.json", '{"tasks": {"a": {"kind": "k"}}, "\\u0074asks": {"a": {"kind": "k"}}}',
             ["p.json:1: tasks: is there twice, first in line 1"]),
        ],
    )  # fmt: skip
    def test_a_key_that_stands_twice_is_a_problem(self, name, text, problem):
        assert problems_of(text, name) == problem

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (
                "p.yaml",
                """\
tasks:
  b: {kind: k}
  c: {needs: [zz], payload: '{{ tasks.qq.output }}'}
  c: {kind: k, resources: {x: -1}, needs: [b, b]}
  c: {kind: k, timeout: soon}
""",
            ),
            (
                "p.json",
                """\
{"tasks": {
"b": {"kind": "k"},
"c": {"needs": ["zz"], "payload": "{{ tasks.qq.output }}"},
"c": {"kind": "k", "resources": {"x": -1}, "needs": ["b", "b"]},
"c": {"kind": "k", "timeout": "soon"}}}
""",
            ),
        ],
    )
    def test_all_that_is_wrong_with_each_of_the_tasks_that_have_one_name_is_told(self, name, text):
        found = problems_of(text, name)
        assert sorted(problem.partition(" (")[0].partition(" 'soon'")[0] for problem in found) == [
            f"{name}:3: tasks.c.needs[0]: no task is named 'zz'",
            f"{name}:3: tasks.c.payload: {{{{ tasks.qq.output }}}}: no task is named 'qq'",
            f"{name}:3: tasks.c: has no kind",
            f"{name}:4: tasks.c.needs[1]: 'b' is listed twice",
            f"{name}:4: tasks.c.resources.x: must not be negative",
            f"{name}:4: tasks.c: is there twice, first in line 3",
            f"{name}:5: tasks.c.timeout:",
            f"{name}:5: tasks.c: is there twice, first in line 4",
        ]
        assert any(problem.endswith("no task is named 'zz' (known: b, c)") for problem in found)

    def test_what_a_former_part_of_a_payload_holds_is_looked_at_too(self):
        assert problems_of("tasks:\n  a:\n    kind: k\n    payload:\n      x: '{{ tasks.y.output }}'\n      x: 1") == [
            "plan.yaml:5: tasks.a.payload.x: {{ tasks.y.output }}: no task is named 'y' (known: a)",
            "plan.yaml:6: tasks.a.payload.x: is there twice, first in line 5",
        ]


class TestName:
    def test_a_plan_without_a_name_has_that_of_its_file(self):
        assert parse("tasks: {a: {kind: k}}", "some/where/night ly.v2.yaml").plan.name == "night-ly.v2"

    def test_a_name_is_found_for_any_file(self):
        assert parse("tasks: {a: {kind: k}}", "___.yaml").plan.name == "plan"

    def test_a_name_that_is_none_is_a_problem(self):
        assert problem_of("name: a b\ntasks: {a: {kind: k}}").startswith(
            "plan.yaml:1: name: 'a b' cannot be a plan's name"
        )


class TestInputs:
    TEXT = "inputs: {source: ., depth: 1}\ntasks: {a: {kind: k, payload: '{{ inputs.depth }}'}}"

    def test_those_given_take_the_place_of_the_plans(self):
        assert parse(self.TEXT, inputs={"depth": [2]}).plan.inputs == {"source": ".", "depth": [2]}

    def test_one_that_the_plan_does_not_have_is_refused(self):
        problem = problem_of(self.TEXT, inputs={"dept": 2})

        assert problem == "plan.yaml:1: inputs.dept: the plan has no such input (did you mean 'depth'?)"

    def test_one_that_cannot_be_stored_is_refused(self):
        assert (
            problem_of(self.TEXT, inputs={"depth": object()})
            == "plan.yaml:1: inputs.depth: is nothing that JSON can carry"
        )

    def test_they_are_a_mapping(self):
        assert "inputs: must be a mapping" in problem_of("inputs: [a]\ntasks: {a: {kind: k}}")
