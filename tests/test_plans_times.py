"""Times as people write them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import InvalidRequest
from aats_core.plans.times import format_seconds, parse_deadline, parse_seconds

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1d2h3m4s", 93784),
        ("0.5s", 0.5),
        ("1.5h", 5400),
        (" 2h ", 7200),
        (90, 90),
        (0.25, 0.25),
        (0, 0),
    ],
)
def test_a_length_is_seconds(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "soon", "90", "1h 30m", "30m1h", "1w", "h", "-5s", "٣s", "9" * 30 + "s", True, None, []],
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(InvalidRequest, match="1h30m"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "negative"),
        (float("-inf"), "negative"),
        (float("inf"), "hundred years"),
        (10**400, "hundred years"),
        ("36526d", "hundred years"),
        (float("nan"), "not a time"),
    ],
)
def test_a_length_is_bounded(value, message):
    with pytest.raises(InvalidRequest, match=message):
        parse_seconds(value)


@given(st.text() | st.binary() | st.floats() | st.integers())
def test_parsing_raises_nothing_else(value):
    for parse in (parse_seconds, lambda value: parse_deadline(value, now=NOW)):
        with suppress(InvalidRequest):
            assert isinstance(parse(value), float)


class TestDeadline:
    def test_a_length_counts_from_now(self):
        assert parse_deadline("2h", now=NOW) == NOW + 7200
        assert parse_deadline(60, now=NOW) == NOW + 60

    @pytest.mark.parametrize(
        "value",
        [
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20+01:00",
            "2023-11-14 22:13:20+00:00",
            datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        ],
    )
    def test_a_timestamp_is_that_moment(self, value):
        assert parse_deadline(value, now=0.0) == NOW

    @pytest.mark.parametrize("value", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
    def test_the_first_and_the_last_moment_are_ones(self, value):
        assert isinstance(parse_deadline(value, now=NOW), float)

    @pytest.mark.parametrize("value", ["2023-11-14T22:13:20", "2023-11-14", datetime(2023, 11, 14), date(2023, 11, 14)])
    def test_a_timestamp_needs_its_zone(self, value):
        with pytest.raises(InvalidRequest, match="no time zone"):
            parse_deadline(value, now=NOW)

    @pytest.mark.parametrize("value", ["tomorrow", "2023-13-14T00:00:00Z", "0000-01-01T00:00:00Z"])
    def test_anything_else_is_refused_with_examples_of_both(self, value):
        with pytest.raises(InvalidRequest, match="neither a length such as 2h nor a timestamp such as 2030"):
            parse_deadline(value, now=NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "0.25s"), (90, "90s"), (120, "2m"), (5400, "1h30m"), (7199.7, "2h"), (93784, "1d2h3m4s")],
)
def test_a_length_is_shown_for_people(seconds, text):
    assert format_seconds(seconds) == text


@given(st.integers(min_value=120, max_value=10**9))
def test_what_is_shown_can_be_read_again(seconds):
    assert parse_seconds(format_seconds(seconds)) == seconds
