"""What is learned of run times, and what is assumed."""

from __future__ import annotations

import math

import pytest
from aats_agent_task_scheduler.estimates import UNKNOWN, Duration, Estimates, label
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mProject_ID0000001", "mProject"),
        ("cpuhog_chain_00000004", "cpuhog_chain"),
        ("NFCORE_SAREK.SAREK.PREPARE_GENOME.BWAMEM1_INDEX_6", "NFCORE_SAREK.SAREK.PREPARE_GENOME.BWAMEM1_INDEX"),
        ("individuals_merge_ID0000011", "individuals_merge"),
        ("test-3.11", "test"),
        ("shard 7", "shard"),
        ("build", "build"),
        ("grid", "grid"),
        ("2mass", "2mass"),
        ("12345", "#"),
        ("", "#"),
    ],
)
def test_a_label_is_the_name_without_its_number(name: str, expected: str) -> None:
    assert label(name) == expected


@settings(deadline=None)
@given(st.text())
def test_a_label_is_its_own_label(name: str) -> None:
    assert label(label(name)) == label(name) != ""


def learn(estimates: Estimates, name: str, *seconds: float, kind: str = "k") -> None:
    for each in seconds:
        estimates.learn(kind, name, label(name), each)


def guess(estimates: Estimates, name: str, hint: float | None = None, *, kind: str = "k") -> float:
    return estimates.of(kind, name, label(name), hint)


def test_nothing_known_is_one_second() -> None:
    assert guess(Estimates(), "a") == UNKNOWN == 1.0


def test_a_hint_counts_until_the_name_is_learned() -> None:
    estimates = Estimates()
    learn(estimates, "other", 40.0)
    assert guess(estimates, "a", 7.0) == 7.0

    learn(estimates, "a", 3.0)

    assert guess(estimates, "a", 7.0) == 3.0


def test_an_unknown_name_takes_the_mean_of_its_kind_then_of_all() -> None:
    estimates = Estimates()
    learn(estimates, "a", 2.0)
    learn(estimates, "b", 4.0)
    learn(estimates, "c", 12.0, kind="other")

    assert guess(estimates, "new") == 3.0
    assert guess(estimates, "new", kind="third") == 6.0


def test_names_that_differ_in_their_number_teach_each_other() -> None:
    estimates = Estimates()
    learn(estimates, "shard-1", 2.0)
    learn(estimates, "shard-2", 2.0)

    assert guess(estimates, "shard-99") == 2.0


def test_the_same_name_of_another_kind_is_another_task() -> None:
    estimates = Estimates()
    learn(estimates, "a", 2.0)
    learn(estimates, "a", 30.0, kind="other")

    assert guess(estimates, "a") == 2.0


def test_a_task_that_differs_from_its_siblings_is_known_by_its_own_name() -> None:
    estimates = Estimates()
    learn(estimates, "shard-1", 10.0)
    learn(estimates, "shard-2", 600.0)

    assert guess(estimates, "shard-2") == 600.0
    assert 10.0 < guess(estimates, "shard-3") < 600.0


def test_short_tasks_are_not_told_apart() -> None:
    """Or each of a hundred thousand quick tasks would be kept."""
    estimates = Estimates()
    for number in range(100):
        learn(estimates, f"quick-{number}", 0.001 * number)

    assert {duration.name for duration in estimates.durations()} == {"quick", ""}


def test_a_mean_follows_what_happens_lately() -> None:
    estimates = Estimates()
    learn(estimates, "a", *[1.0] * 1000)

    learn(estimates, "a", *[9.0] * 200)

    assert guess(estimates, "a") == pytest.approx(9.0, rel=0.02)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_what_is_no_length_of_time_teaches_nothing(seconds: float) -> None:
    estimates = Estimates()
    learn(estimates, "a", seconds)

    assert estimates.durations() == []


def test_zero_seconds_can_be_learned() -> None:
    estimates = Estimates()
    learn(estimates, "a", 0.0)

    assert guess(estimates, "a") == 0.0


def test_the_version_grows_only_where_a_mean_moves() -> None:
    estimates = Estimates()
    learn(estimates, "a", 10.0)
    before = estimates.version

    learn(estimates, "a", *[10.1] * 50)
    assert estimates.version == before

    learn(estimates, "a", *[20.0] * 50)
    assert estimates.version > before


def test_what_changed_is_told_once_unless_it_could_not_be_saved() -> None:
    estimates = Estimates()
    learn(estimates, "a", 3.0)
    expected = {Duration("k", "a", 3.0, 1), Duration("k", "", 3.0, 1), Duration("", "", 3.0, 1)}

    changed = estimates.changed()
    assert set(changed) == expected
    assert estimates.changed() == []

    estimates.unsaved(changed)
    assert set(estimates.changed()) == expected


def test_what_was_saved_can_be_loaded_but_does_not_displace_what_is_newer() -> None:
    first = Estimates()
    learn(first, "a", 3.0)
    learn(first, "b", 5.0)
    second = Estimates()
    learn(second, "a", 8.0)

    second.load(first.durations())

    assert guess(second, "a") == 8.0
    assert guess(second, "b") == 5.0


def test_no_more_is_kept_than_the_limit_and_the_latest_stays() -> None:
    estimates = Estimates(limit=10)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        learn(estimates, letter, 3.0)

    names = {duration.name for duration in estimates.durations()}
    assert len(names) <= 10
    assert {"z", "y", ""} <= names
    assert len(estimates.changed()) <= 10
