"""The circuit breaker: once a server has been away for too long, calls fail at once instead of waiting for it."""

from __future__ import annotations

import random
import time

_PAUSE = 1.0
"""Seconds between two attempts to reach a server that is away, more or less."""


class Breaker:
    """Counts for how long connecting has failed without one success.

    Until that is `patience` seconds callers try again and again; then only one of them in a while may try, and the
    others are told that there is no hope.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._failing_since: float | None = None
        self._next_attempt = 0.0
        self.reason = ""

    def allows(self) -> bool:
        """Tell whether an attempt may be made now."""
        now = time.monotonic()
        if not self.is_open:
            return True
        if now < self._next_attempt:
            return False
        self._pause(now)
        return True

    @property
    def is_open(self) -> bool:
        """Whether the server has been away for too long."""
        return self._failing_since is not None and time.monotonic() - self._failing_since >= self._patience

    def succeeded(self) -> None:
        """Take note that the server is there."""
        self._failing_since = None
        self.reason = ""

    def failed(self, error: BaseException) -> None:
        """Take note of an attempt that failed."""
        self.reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if self.is_open:
            self._pause(now)

    def _pause(self, now: float) -> None:
        self._next_attempt = now + _PAUSE * random.uniform(0.5, 1.5)  # noqa: S311 - spreads attempts, hides nothing
