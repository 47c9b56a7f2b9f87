"""Templates in payloads."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import InvalidRequest
from aats_core.plans import Reference, has_templates, references, render
from aats_core.plans.reference import parse

SCOPE = {
    "inputs": {"source": "/src", "count": 3, "flag": True, "nothing": None, "list": [1, {"a": "b"}]},
    "plan": {"id": "p1", "name": "release"},
    "tasks": {
        "build": {"output": {"wheel": "a.whl", "files": [{"path": "x"}, {"path": "y"}]}, "state": "done", "error": ""},
        "test.unit": {"output": None, "state": "failed", "error": "boom"},
    },
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


class TestRender:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("{{ inputs.source }}", "/src"),
            ("{{inputs.count}}", 3),
            ("{{ inputs.flag }}", True),
            ("{{ inputs.nothing }}", None),
            ("{{ inputs.list }}", [1, {"a": "b"}]),
            ("{{ inputs.list[1].a }}", "b"),
            ("{{ inputs.list[-1] }}", {"a": "b"}),
            ("{{ tasks.build.output.files[1].path }}", "y"),
            ('{{ tasks["test.unit"].error }}', "boom"),
            ("{{ tasks['test.unit'].state }}", "failed"),
            ("{{ plan.id }}", "p1"),
        ],
    )
    def test_a_text_that_is_one_reference_becomes_the_value(self, text, value):
        assert render(text, SCOPE) == value

    @pytest.mark.parametrize(
        ("text", "rendered"),
        [
            ("{{ plan.name }}-{{ inputs.count }}", "release-3"),
            (" {{ inputs.count }}", " 3"),
            ("is {{ inputs.flag }}", "is true"),
            ("is {{ inputs.nothing }}", "is null"),
            ("all: {{ inputs.list }}", 'all: [1,{"a":"b"}]'),
            ("a } b }} c {{ plan.id }} { d", "a } b }} c p1 { d"),
        ],
    )
    def test_in_a_longer_text_values_are_written_out(self, text, rendered):
        assert render(text, SCOPE) == rendered

    def test_values_are_filled_in_wherever_they_stand_but_not_in_keys(self):
        payload = {"a": ["{{ plan.id }}", {"{{ plan.id }}": "x {{ plan.id }}"}], "n": 1}

        assert render(payload, SCOPE) == {"a": ["p1", {"{{ plan.id }}": "x p1"}], "n": 1}

    def test_what_is_filled_in_is_not_looked_at_again(self):
        assert render("{{ inputs.x }}", {"inputs": {"x": "{{ plan.id }}"}}) == "{{ plan.id }}"

    def test_the_payload_itself_is_left_as_it_is(self):
        payload = {"a": ["{{ plan.id }}"]}

        render(payload, SCOPE)

        assert payload == {"a": ["{{ plan.id }}"]}

    @given(json_values)
    def test_a_payload_without_templates_is_returned_as_it_is(self, payload):
        if not has_templates(payload):
            assert render(payload, {}) is payload

    @pytest.mark.parametrize(
        ("text", "rendered"),
        [
            (r"\{{ plan.id }}", "{{ plan.id }}"),
            (r"--format '\{{.Names}} \{{.ID}}'", "--format '{{.Names}} {{.ID}}'"),
            (r"\\{{ plan.id }}", r"\p1"),
            (r"\\\{{ plan.id }}", r"\{{ plan.id }}"),
            (r"a\b {{ plan.id }} \n", r"a\b p1 \n"),
            (r"\{{{{ plan.id }}", "{{p1"),
        ],
    )
    def test_a_backslash_makes_braces_literal(self, text, rendered):
        assert render(text, SCOPE) == rendered

    @given(st.text(alphabet="{}\\ ab"))
    def test_any_text_can_be_meant_literally(self, text):
        escaped = re.sub(r"(\\*)\{\{", lambda found: found[1] * 2 + r"\{{", text)

        assert render(escaped, {}) == text


class TestDefault:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{{ inputs.mode | default("fast") }}', "fast"),
            ("{{ inputs.mode|default(3) }}", 3),
            ('{{ inputs.mode | default( {"a": ["}}"]} ) }}', {"a": ["}}"]}),
            ("{{ inputs.nothing | default(false) }}", False),
            ("{{ inputs.count | default(9) }}", 3),
            ('{{ tasks["test.unit"].output.wheel | default("none") }}', "none"),
            ("{{ inputs.list[7] | default(null) }}", None),
        ],
    )
    def test_it_stands_where_there_is_no_value(self, text, value):
        assert render(text, SCOPE) == value


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{{ tasks.build.output.whel }}", "tasks.build.output has no 'whel', it has 'wheel', 'files'"),
            ("{{ inputs.list[2] }}", r"inputs.list is a list of 2 and has no \[2\]"),
            ("{{ inputs.list.a }}", "inputs.list is a list of 2 and has no a"),
            ("{{ inputs.source.x }}", "inputs.source is text and has no x"),
            ("{{ inputs.count.x }}", "inputs.count is a number and has no x"),
            ("{{ inputs.flag[0] }}", r"inputs.flag is true or false and has no \[0\]"),
            ('{{ tasks["test.unit"].output.x }}', "output is null and has no x"),
            ("{{ nobody }}", "the plan has no 'nobody', it has 'inputs', 'plan', 'tasks'"),
            ("{{ inputs.source[0] }}", r"inputs.source is text and has no \[0\]"),
        ],
    )
    def test_a_missing_value_says_what_is_there(self, text, message):
        with pytest.raises(InvalidRequest, match=message):
            render(text, SCOPE)

    def test_the_place_in_the_payload_is_named(self):
        with pytest.raises(InvalidRequest, match=r"^payload\.a\[1\]\[\"b\.c\"\]: \{\{ inputs\.zap \}\}: inputs has no"):
            render({"a": [0, {"b.c": "{{ inputs.zap }}"}]}, SCOPE)

    @pytest.mark.parametrize(
        "text",
        [
            "{{",
            "{{ }}",
            "{{ plan.id",
            "{{ plan. }}",
            "{{ plan.id }",
            "{{ plan id }}",
            "{{ plan.id + 1 }}",
            "{{ plan.id() }}",
            "{{ plan['id }}",
            "{{ inputs[x] }}",
            "{{ 'text' }}",
            "{{ .Names }}",
            "{{{ plan.id }}}",
            "{{ a | default }}",
            "{{ a | default() }}",
            "{{ a | default(fast) }}",
            "{{ a | default(1 }}",
            "{{ a | upper }}",
            "{{ a | default(" + "[" * 100_000,
        ],
    )
    def test_what_is_no_reference_is_refused_with_the_way_out(self, text):
        with pytest.raises(InvalidRequest, match=r"is not a reference such as .*write \\\{\{ for two braces"):
            render({"x": text}, SCOPE)

    def test_attributes_of_objects_are_out_of_reach(self):
        for path in ("__class__", "keys", "output.__len__"):
            with pytest.raises(InvalidRequest):
                render("{{ tasks.build.%s }}" % path, SCOPE)  # noqa: UP031

    def test_a_payload_nested_without_end_is_refused(self):
        payload = "{{ plan.id }}"
        for _ in range(5000):
            payload = [payload]

        with pytest.raises(InvalidRequest, match="nested too deeply"):
            render(payload, SCOPE)

    @given(st.text(alphabet="{}|.[]()\"'\\ adefult01"))
    def test_no_text_raises_anything_else(self, text):
        with suppress(InvalidRequest):
            render(text, SCOPE)


class TestReferences:
    def test_they_are_found_in_order(self):
        payload = {"a": "{{ inputs.b }} {{ tasks.c.output }}", "d": [["{{ plan.id }}"]], "e": r"\{{ no }}", "f": 1}

        assert [str(found) for found in references(payload)] == [
            "{{ inputs.b }}",
            "{{ tasks.c.output }}",
            "{{ plan.id }}",
        ]

    def test_a_payload_without_templates_has_none(self):
        assert references({"a": [{}]}) == []

    def test_a_text_that_is_not_valid_is_refused_with_its_place(self):
        with pytest.raises(InvalidRequest, match=r"^a\[0\]: "):
            references({"a": ["{{ ! }}"]})

    def test_one_knows_whether_it_has_a_default(self):
        assert [found.has_default for found in references(["{{ a.b }}", "{{ a.b | default(null) }}"])] == [False, True]

    @given(
        st.lists(
            st.text(alphabet=st.characters(codec="utf-8", exclude_characters='"\\\n'), max_size=8)
            | st.integers(-99, 99),
            max_size=4,
        )
    )
    def test_one_is_written_as_it_is_read(self, steps):
        reference = Reference(("tasks", *steps))

        assert parse(str(reference)) == [reference]
