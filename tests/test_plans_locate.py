"""Problems that a team has found, shown with their lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.plans import check_plan, locate, parse_plan

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("p.yaml", "tasks:\n  a:\n    kind: k\n  b.c:\n    kind: l\n    payload: ['{{ plan.id }}']\n"),
        ("p.json", '{"tasks":\n{"a": {\n"kind": "k"},\n"b.c": {"kind": "l"}}}'),
        ("p.toml", 'tasks.a.kind = "k"\ntasks."b.c".kind = "l"'),
    ],
)
def test_a_problem_gets_the_place_that_it_had_if_it_was_found_with_the_file(source, text):
    read = parse_plan(text.encode(), source=source, now=NOW)

    without = check_plan(read.plan, kinds=["x"], now=NOW)

    assert len(without) == 2
    assert locate(without, read.places) == check_plan(read.plan, kinds=["x"], now=NOW, places=read.places)


@pytest.mark.parametrize(
    "problem",
    [
        "and 500 further problems",
        "",
        "what is this: nothing",
        'tasks["a: x',
        'tasks["a\\"]: x',
        "3: x",
        "tasks[9999999999]: x",
    ],
)
def test_what_has_no_way_of_keys_is_left_as_it_is(problem):
    places = parse_plan(b"tasks: {a: {kind: k}}", source="p.yaml", now=NOW).places

    assert locate([problem], places) == [problem]


@given(st.text(alphabet='tasks.[]"\\0 :x'))
def test_any_problem_can_be_asked_about(problem):
    places = parse_plan(b"tasks: {a: {kind: k}}", source="p.yaml", now=NOW).places

    (found,) = locate([problem], places)

    assert found == problem or found.startswith(("p.yaml: ", "p.yaml:1: "))
