"""Names of plans and tasks, and what somebody meant who wrote one that does not exist."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.plans.names import clean_name, clean_names, is_name
from aats_core.plans.suggest import suggest


@given(st.text(max_size=200))
def test_a_cleaned_name_is_a_name_and_stays_as_it_is(text):
    name = clean_name(text, fallback="x")

    assert is_name(name)
    assert clean_name(name, fallback="x") == name
    assert not is_name(text) or name == text


@given(st.lists(st.text(alphabet="a-b. /é", max_size=4) | st.just("x" * 130)))
def test_different_texts_get_different_names(texts):
    names = clean_names(texts, fallback="x")

    assert set(names) == set(texts)
    assert len(set(names.values())) == len(names)
    assert all(is_name(name) for name in names.values())
    assert all(names[text] == text for text in texts if is_name(text))


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("lnit", ["lint", "build"], " (did you mean 'lint'?)"),
        ("tiemout", ["timeout", "time"], " (did you mean 'timeout'?)"),
        ("zzz", ["lint", "build"], " (known: build, lint)"),
        ("zzz", [f"task-{number}" for number in range(99)], ""),
        ("task-100", [f"task-{number}" for number in range(99)], " (did you mean 'task-10'?)"),
        ("x", [], ""),
        ("y" * 100_000, ["lint"], " (known: lint)"),
    ],
)
def test_a_suggestion_is_the_nearest_name_or_else_a_short_list(word, known, hint):
    assert suggest(word, known) == hint
