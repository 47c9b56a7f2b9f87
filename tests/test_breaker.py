"""The circuit breaker."""

from __future__ import annotations

import time

import pytest

from aats_core.breaker import Breaker


def test_it_allows_every_attempt_while_the_server_was_there_a_moment_ago() -> None:
    breaker = Breaker(patience=60.0)
    for _ in range(5):
        breaker.failed(ConnectionRefusedError("refused"))
        assert breaker.allows()
    assert "refused" in breaker.reason


def test_it_allows_one_attempt_in_a_while_when_the_server_is_away_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker, now = Breaker(patience=10.0), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    breaker.failed(OSError())
    now += 10.0
    assert breaker.is_open
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    now += 2.0
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True, True, True]
    assert not breaker.reason


def test_an_attempt_that_took_long_is_followed_by_a_pause_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker, now = Breaker(patience=10.0), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    breaker.failed(OSError())
    now += 10.0
    assert breaker.allows()
    now += 5.0
    breaker.failed(OSError())
    assert not breaker.allows()
    now += 2.0
    assert breaker.allows()
