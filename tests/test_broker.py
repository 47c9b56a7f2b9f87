from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.broker import Broker, Delivery, Subscription, topic_matches

words = st.text(st.characters(exclude_characters=".*", codec="utf-8"), max_size=3)
topics = st.lists(words, min_size=1, max_size=4).map(".".join)
patterns = st.lists(words | st.just("*"), min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("agent.tasks.shell", "agent.tasks.shell", True),
        ("agent.tasks.shell", "agent.tasks.http", False),
        ("agent.tasks.*", "agent.tasks.shell", True),
        ("agent.tasks.*", "agent.tasks.shell.urgent", False),
        ("agent.tasks.*", "agent.tasks", False),
        ("agent.*.shell", "agent.status.shell", True),
        ("agent.*.shell", "agent.status.http", False),
        ("*", "agent", True),
        ("*", "agent.tasks", False),
        ("*.*", "agent.tasks", True),
        ("agent.tasks.sh*", "agent.tasks.shell", False),
        ("agent.tasks.?", "agent.tasks.a", False),
        ("agent.tasks", "agentxtasks", False),
    ],
)
def test_a_star_stands_for_one_whole_word(pattern: str, topic: str, *, fits: bool) -> None:
    assert topic_matches(pattern, topic) is fits


@given(topics)
def test_every_topic_fits_itself(topic: str) -> None:
    assert topic_matches(topic, topic)


@given(st.lists(words, min_size=1, max_size=4), st.data())
def test_any_words_of_a_topic_can_become_stars(parts: list[str], data: st.DataObject) -> None:
    starred = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    pattern = ".".join("*" if star else part for star, part in zip(starred, parts, strict=True))
    assert topic_matches(pattern, ".".join(parts))


@given(patterns, topics)
def test_it_agrees_with_a_regular_expression(pattern: str, topic: str) -> None:
    expression = r"\.".join(r"[^.]*" if word == "*" else re.escape(word) for word in pattern.split("."))
    assert topic_matches(pattern, topic) == bool(re.fullmatch(expression, topic, re.DOTALL))


@pytest.mark.parametrize("contract", [Broker, Subscription, Delivery])
def test_a_contract_cannot_be_used_without_an_implementation(contract: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        contract()
