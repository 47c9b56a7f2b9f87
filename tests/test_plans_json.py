"""What is particular about plans in JSON, and their lines, which are found only when they are asked for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.plans.document import Malformed
from aats_core.plans.jsontext import decode_json
from aats_core.plans.place import Places
from aats_core.plans.yamltext import decode_yaml

keys = st.text(alphabet='ab{}[],:"\\ .é', max_size=4)
trees = st.dictionaries(
    keys,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | keys,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(trees)
def test_a_value_is_what_was_written(tree):
    assert decode_json(json.dumps(tree)).value == tree


@given(trees)
def test_keys_and_items_are_in_the_lines_in_which_yaml_finds_them(tree):
    text = json.dumps(tree, indent=1)

    assert decode_json(text).marks() == decode_yaml(text).marks() == decode_json(text.replace("\n", "\r\n")).marks()


@given(trees)
def test_without_line_breaks_all_is_in_line_one(tree):
    def lines(marks):
        for line, inner in (marks or {}).values():
            yield line
            yield from lines(inner)

    assert set(lines(decode_json(json.dumps(tree)).marks())) <= {1}


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 1}", "{a: 1}", '{"a": 1,}', "[1,]", '{"a": 01}', '{"a": +1}', '{"a": .5}', '{"a": "\t"}', '{"a": "\\x"}',
        '{"a": 1} x', "# a", '{"a" 1}', '{"a": tru}', '"', "{", '{"a":',
    ],
)  # fmt: skip
def test_what_only_yaml_or_javascript_would_take_is_refused(text):
    with pytest.raises(Malformed, match="is not valid JSON") as refused:
        decode_json(text)

    assert refused.value.line == 1


def test_a_key_that_stands_three_times_is_found_twice():
    duplicates = decode_json('{"a": 1,\n"b": {"a": 2},\n"a": 3,\n\n"a": {"a": 4}}').duplicates

    assert [(found.where, found.line, found.first) for found in duplicates] == [(("a",), 3, 1), (("a",), 5, 3)]


def test_keys_that_are_written_differently_can_be_the_same():
    (found,) = decode_json('{"a/b": [{"x": 1, "\\u0078": 2}], "c": 1}').duplicates

    assert found.where == ("a/b", 0, "x")


class TestPlaces:
    def test_a_part_that_is_not_there_has_the_line_of_what_is_around_it(self):
        places = Places("p.json", decode_json('{"tasks": {\n"a": {\n"kind": "k"}}}').marks)

        assert places.line(("tasks", "a", "kind")) == 3
        assert places.line(("tasks", "a", "retries", "limit")) == 2
        assert places.line(("tasks", "b", "kind")) == 1
        assert places.line(("inputs",)) == 0
        assert places.line(()) == 0

    def test_they_are_looked_up_once(self):
        calls = []
        places = Places("p", lambda: calls.append(1) or {"a": (4, None)})

        assert not calls
        assert [places.line(("a",)), places.line(("a", "b"))] == [4, 4]
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("where", "line", "text"),
        [
            (("tasks", "a", "needs", 0), 7, "p:7: tasks.a.needs[0]"),
            (("tasks", "a.b c"), 0, 'p: tasks["a.b c"]'),
            (("tasks", 'a"\n'), 0, r'p: tasks["a\"\n"]'),
            (("tasks", "x" * 99 + "!"), 0, f'p: tasks["{"x" * 57}..."]'),
            (("a b",), 0, 'p: ["a b"]'),
            ((), 3, "p:3"),
        ],
    )
    def test_a_place_is_file_line_and_way(self, where, line, text):
        assert Places("p").describe(where, line) == text
