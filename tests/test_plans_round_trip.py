"""Any plan can be written in any of the formats, and nothing that is read does worse than being refused."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import Refused
from aats_core.plans import check_plan, parse_plan
from aats_core.task import Plan, Retries, Task, When

NOW = 1_700_000_000.0
SUFFIXES = ("yaml", "json", "toml")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
texts = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.just("\n"), max_size=12)
plain_texts = texts.filter(lambda text: "{{" not in text)
lengths = st.integers(min_value=1, max_value=10**6).map(float) | st.sampled_from([0.5, 0.25])
moments = st.integers(min_value=int(NOW) + 9, max_value=4 * 10**9).map(float)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.booleans() | numbers | plain_texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_texts, inner, max_size=3), max_leaves=6
)
retries = st.builds(
    Retries,
    limit=st.integers(0, 99),
    backoff=lengths,
    factor=st.integers(1, 9).map(float),
    max_backoff=lengths,
    jitter=st.sampled_from([0.0, 0.1, 1.0]),
    lost=st.integers(0, 9),
)


@st.composite
def plans(draw):
    tasks = []
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        needs = draw(st.lists(st.sampled_from([task.name for task in tasks]), unique=True)) if tasks else []
        tasks.append(
            Task(
                name,
                draw(st.sampled_from(["shell.run", "http.request", "1", "true", "é k"])),
                draw(values),
                tuple(needs),
                draw(st.sampled_from(list(When))) if needs else When.DONE,
                draw(st.none() | st.integers(1, 9)),
                draw(st.none() | moments),
                draw(retries),
                draw(st.none() | lengths),
                draw(st.dictionaries(names, lengths, max_size=2)),
                draw(st.none() | st.just(0.5)),
                draw(texts),
            )
        )
    return Plan(
        draw(names),
        tuple(tasks),
        draw(st.integers(1, 9)),
        draw(st.none() | moments),
        draw(st.dictionaries(plain_texts, values, max_size=3)),
        draw(texts),
    )


def tree_of(plan):
    """The plan as its file's tree, without what it does not say."""

    def moment(at):
        return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()

    def given(**keys):
        return {key: value for key, value in keys.items() if value is not None}

    tasks = {
        task.name: given(
            kind=task.kind,
            payload=task.payload,
            needs=list(task.needs),
            when=str(task.when),
            priority=task.priority,
            deadline=moment(task.deadline),
            retries={field: getattr(task.retries, field) for field in task.retries.__struct_fields__},
            timeout=task.timeout,
            resources=task.resources,
            estimate=task.estimate,
            description=task.description,
        )
        for task in plan.tasks
    }
    return given(
        name=plan.name,
        priority=plan.priority,
        deadline=moment(plan.deadline),
        inputs=plan.inputs,
        description=plan.description,
        tasks=tasks,
    )


class _Quoting(yaml.SafeDumper):
    """Writes text in quotes, since PyYAML leaves those off by the rules of YAML 1.1."""

    def ignore_aliases(self, data):
        return True


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def to_toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_toml(key)} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def write(tree, suffix):
    if suffix == "yaml":
        return yaml.dump(tree, Dumper=_Quoting, sort_keys=False, allow_unicode=True)
    if suffix == "json":
        return json.dumps(tree)
    return "\n".join(f"{to_toml(key)} = {to_toml(value)}" for key, value in tree.items())


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(plan=plans())
def test_a_plan_is_the_same_in_every_format(suffix, plan):
    text = write(tree_of(plan), suffix)

    source = parse_plan(text.encode(), source=f"other.{suffix}", now=NOW)

    assert source.plan == plan
    assert check_plan(source.plan, kinds=None, now=NOW) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused(suffix, data):
    with suppress(Refused):
        parse_plan(data, source=f"p.{suffix}", now=NOW)


WORDS = (
    *("tasks", "name", "kind", "payload", "needs", "when", "retries", "limit", "timeout", "deadline", "inputs"),
    *("defaults", "resources", "priority", "k", "a", "b", "done", "failed", "2h", "-1", "1e999", ".nan", "null"),
    *("true", "2024-01-01", "{{", "}}", "{{ inputs.a }}", "{{ tasks.a.output }}", "workflow", "specification"),
    *("schemaVersion", "1.5", "execution", "id", "parents", "children", "runtimeInSeconds"),
)
SIGNS = (
    *(
        "\n",
        "  ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        '"',
        "'",
        "&x ",
        "*x",
        "<<",
        "!!int ",
        "? ",
        "|",
        "#",
        "=",
        ".",
    ),
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(text=st.lists(st.sampled_from(WORDS + SIGNS), max_size=40).map("".join))
def test_anything_like_a_plan_is_read_or_refused(suffix, text):
    with suppress(Refused):
        parse_plan(text.encode(), source=f"p.{suffix}", now=NOW)


odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(tree=odd_values)
def test_any_tree_is_read_or_refused_with_places_in_the_file(tree):
    text = json.dumps(tree, indent=1)
    try:
        source = parse_plan(text.encode(), source="p.json", now=NOW)
    except Refused as refused:
        last = text.count("\n") + 1
        for problem in refused.problems:
            found = re.match(r"p\.json(?::(\d+))?: ", problem)
            assert found
            assert not found[1] or 1 <= int(found[1]) <= last
    else:
        assert source.plan.tasks
        assert math.isfinite(source.plan.deadline or 0.0)


@given(tree=st.dictionaries(st.sampled_from(WORDS), odd_values), suffix=st.sampled_from(["yaml", "toml"]))
def test_any_tree_is_read_or_refused_in_the_other_formats_too(tree, suffix):
    with suppress(Refused):
        parse_plan(write(tree, suffix).encode(), source=f"p.{suffix}", now=NOW)
