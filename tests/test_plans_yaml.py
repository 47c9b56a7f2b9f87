"""What is particular about plans in YAML."""

from __future__ import annotations

import pytest

from aats_core.plans.document import Malformed
from aats_core.plans.yamltext import decode_yaml


def value_of(text):
    return decode_yaml(text).value


class TestScalars:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("", None), ("~", None), ("null", None), ("true", True), ("False", False),
            ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
            ("12", 12), ("-3", -3), ("+3", 3), ("007", 7), ("0o17", 15), ("0x1F", 31),
            ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("-1.5E-2", -0.015),
            ("1_000", "1_000"), ("12:30", "12:30"), ("2024-01-31", "2024-01-31"), ("1.2.3", "1.2.3"), ("-", ["-"]),
            ("0b1", "0b1"), ("e3", "e3"), ("+", "+"), ("'12'", "12"), ('"true"', "true"), ("''", ""),
            ("!!str 12", "12"), ("! 12", "12"), ("!!int '12'", 12), ("!!float 3", 3.0), ("!!null ''", None),
            ("!!bool 'true'", True), (".inf", float("inf")), ("-.Inf", float("-inf")),
        ],
    )  # fmt: skip
    def test_one_means_what_the_core_schema_says(self, text, value):
        if text == "-":
            text = "['-']"
        found = value_of(f"a: {text}")["a"]

        assert found == value
        assert type(found) is type(value)

    def test_not_a_number_is_read_as_such(self):
        assert value_of("a: .nan")["a"] != value_of("a: .nan")["a"]

    @pytest.mark.parametrize("tag", ["!!int x", "!!bool yes", "!!float x", "!!null x", "!!int 1.5"])
    def test_one_that_does_not_fit_its_tag_is_refused(self, tag):
        with pytest.raises(Malformed, match="does not fit its tag"):
            value_of(f"a: {tag}")

    @pytest.mark.parametrize(
        "text",
        [
            "!!python/object/apply:os.system [ls]",
            "!!python/name:os.system ''",
            "!!binary aGk=",
            "!!timestamp 2024-01-31",
            "!!set {a}",
            "!mine 3",
        ],
    )
    def test_other_tags_are_refused_with_their_line(self, text):
        with pytest.raises(Malformed, match=r"tag .* is not supported") as refused:
            value_of(f"x: 1\na: {text}")

        assert refused.value.line == 2


class TestKeys:
    def test_keys_are_text_as_it_stands_there(self):
        assert value_of("{on: 1, 2: 2, null: 3, 1.50: 4, 'q': 5}") == {"on": 1, "2": 2, "null": 3, "1.50": 4, "q": 5}

    @pytest.mark.parametrize("text", ["? [a]\n: 1", "? {a: b}\n: 1", "x: &k a\n*k : 1"])
    def test_other_keys_are_refused(self, text):
        with pytest.raises(Malformed, match="must be text"):
            value_of(text)


class TestAliases:
    def test_they_repeat_what_has_the_anchor(self):
        assert value_of("{a: &x [1, 2], b: *x, c: &y t, d: *y}") == {"a": [1, 2], "b": [1, 2], "c": "t", "d": "t"}

    def test_a_later_anchor_takes_the_name_over(self):
        assert value_of("[&x 1, *x, &x 2, *x]") == [1, 1, 2, 2]

    @pytest.mark.parametrize("text", ["a: *x", "a: &x [*x]", "a: &x {b: *x}"])
    def test_without_a_finished_anchor_they_are_refused(self, text):
        with pytest.raises(Malformed, match=r"the alias \*x has no finished anchor &x before it"):
            value_of(text)

    def test_a_small_file_cannot_become_a_huge_plan(self):
        lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

        with pytest.raises(Malformed, match="aliases repeat more than 1000000 values and characters") as refused:
            value_of("\n".join(lines))

        assert 5 < refused.value.line < 9

    def test_long_texts_count_by_their_length(self):
        with pytest.raises(Malformed, match="aliases repeat"):
            value_of(f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 20)}]")

    def test_merging_counts_too(self):
        lines = ["a0: &a0 {x: [" + "1, " * 1000 + "]}"]
        lines += [f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 20)]

        with pytest.raises(Malformed, match="aliases repeat"):
            value_of("\n".join(lines))


class TestMerge:
    def test_keys_are_taken_over_unless_they_stand_there(self):
        text = "a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}\nc: {<<: *a, y: 4}"

        assert value_of(text) == {"a": {"x": 1, "y": 2}, "b": {"y": 3, "x": 1}, "c": {"y": 4, "x": 1}}

    def test_of_several_mappings_the_first_wins(self):
        text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b, {y: 3, z: 3}]}"

        assert value_of(text)["c"] == {"x": 1, "y": 2, "z": 3}

    def test_merged_keys_keep_their_line(self):
        document = decode_yaml("a: &a\n  x: 1\nb:\n  <<: *a\n")

        assert document.marks()["b"][1]["x"][0] == 2

    def test_a_quoted_sign_is_a_key_like_others(self):
        assert value_of("'<<': 1") == {"<<": 1}

    @pytest.mark.parametrize("text", ["<<: 1", "<<: [1]", "<<: [[]]", "<<:"])
    def test_only_mappings_can_be_merged(self, text):
        with pytest.raises(Malformed, match="must be a mapping or a list of mappings"):
            value_of(text)


class TestLines:
    def test_a_key_has_its_own_line_and_an_item_that_of_its_begin(self):
        text = "a:\n  b:\n    - c: 1\n      d: 2\n    - - x\n  e: {f: 1,\n    g: 2}\n"
        marks = decode_yaml(text).marks()

        line, inner = marks["a"]
        assert (line, inner["b"][0], inner["e"][0]) == (1, 2, 6)
        assert [inner["b"][1][index][0] for index in (0, 1)] == [3, 5]
        assert [inner["b"][1][0][1][key][0] for key in ("c", "d")] == [3, 4]
        assert inner["e"][1]["g"][0] == 7

    def test_a_second_document_is_refused(self):
        with pytest.raises(Malformed, match="more than one YAML document") as refused:
            value_of("a: 1\n---\nb: 2\n")

        assert refused.value.line == 2

    def test_duplicates_are_found_at_every_depth(self):
        found = decode_yaml("a:\n- {}\n- x: 1\n  x: 2\na: 3").duplicates

        assert [(item.where, item.line, item.first) for item in found] == [(("a", 1, "x"), 4, 3), (("a",), 5, 1)]
