from __future__ import annotations

import re

from aats_broker_nats.names import Names, decoded, encoded, group_id
from hypothesis import given
from hypothesis import strategies as st

TOPICS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@given(TOPICS.filter(lambda topic: "*" not in topic.split(".")))
def test_every_topic_is_a_subject_that_nats_takes_and_comes_back(topic: str) -> None:
    subject = encoded(topic)

    assert re.fullmatch(r"[!-~]+", subject)
    assert all(subject.split(".")), "NATS knows no empty word"
    assert not {"*", ">"} & set(subject.split("."))
    assert decoded(subject) == topic


def test_a_star_stays_a_wildcard_and_a_greater_than_does_not() -> None:
    assert encoded("agent.*.>") == "agent.*.%3E"
    assert encoded("agent..project-manager_1") == "agent.%.project-manager_1"


def test_the_topic_of_a_subject_is_found_for_messages_and_letters() -> None:
    names = Names("aats")

    assert names.topic(names.message("agent.tasks.a b")) == "agent.tasks.a b"
    assert names.topic(names.letter("agent.tasks.ä")) == "agent.tasks.ä"


def test_the_streams_share_no_subject() -> None:
    names = Names("aats")
    streams = [names.subjects(name) for name in (names.messages, names.dead, names.attempts, names.owners)]

    assert streams == ["aats.messages.>", "aats.dead.>", "aats.attempts.>", "aats.owner.>"]
    assert names.owner("g").startswith("aats.owner.")
    assert names.attempt("g", 7) == "aats.attempts.g.7"


@given(TOPICS, TOPICS)
def test_a_consumer_has_a_name_that_nats_takes(topic: str, group: str) -> None:
    name = group_id(topic, group)

    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
    assert name != group_id(topic + "x", group)
    assert name != group_id(topic, group, "another of the same name")
