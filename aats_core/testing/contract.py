"""What contract suites share: tests that nobody overrides in silence, and waiting that ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Contract:
    """A class of tests that every implementation has to pass; one may be overridden only by an `xfail(reason=...)`."""

    patience: float = 10.0
    """Seconds that a test waits for what has to happen."""
    examples: int = 50
    """How many generated cases are tried."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, test in vars(cls).items():
            inherited = any(hasattr(base, name) for base in cls.__bases__)
            if name.startswith("test") and inherited and not _expected_to_fail(test):
                raise TypeError(
                    f"{cls.__name__}.{name}: a contract test may only be overridden by an xfail with a reason"
                )

    async def advance_time(self, seconds: float) -> None:
        """Let time pass for what is tested; override it where a `VirtualClock` runs it."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """Return its wall clock in Unix seconds."""
        return time.time()

    async def within(self, awaitable: Awaitable[T], complaint: str, *, times: int = 1) -> T:
        """Wait for something that has to happen; fails with the complaint where it does not."""
        limit = self.patience * times
        clock = asyncio.timeout(limit)
        try:
            async with clock:
                return await awaitable
        except TimeoutError as error:
            if clock.expired():
                raise AssertionError(f"{complaint} within {limit:g} s") from error
            raise


def _expected_to_fail(test: Any) -> bool:
    marks = getattr(test, "pytestmark", ())
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
