"""What coroutines have threads do for them, and how they get the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from aats_core.errors import AatsError
from aats_store_sqlite.failures import translate

log = logging.getLogger("aats.store.sqlite")


class Job:
    """Something to do and the future of whoever waits for it. `atomic`: where it fails, it has changed nothing."""

    __slots__ = ("atomic", "error", "future", "result", "step")

    def __init__(self, step: Callable[[Any], Any], future: asyncio.Future[Any], *, atomic: bool = False) -> None:
        self.step = step
        self.future = future
        self.atomic = atomic
        self.result: Any = None
        self.error: BaseException | None = None

    def perform(self, argument: Any, path: Path) -> None:
        """Do it and keep what comes of it."""
        try:
            self.result = self.step(argument)
        except Exception as error:  # noqa: BLE001 - whoever awaits the future gets it
            self.error = reason(error, path)

    def settle(self) -> None:
        """Answer whoever still waits; for the event loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


def reason(error: Exception, path: Path) -> BaseException:
    """Return the error that whoever waits gets for one that a job met."""
    if isinstance(error, apsw.Error):
        translated = translate(error, path)
        translated.__cause__ = error
        return translated
    if not isinstance(error, AatsError):
        log.error("%s: an operation failed unexpectedly", path, exc_info=error)
    return error


def answer(loop: asyncio.AbstractEventLoop, jobs: Sequence[Job]) -> None:
    """Settle jobs from another thread, waking the event loop once."""
    post(loop, lambda: _settle(jobs))


def post(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Have the event loop call something; where it has been closed, nobody waits any more."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        log.debug("the event loop was closed before it got its answer")


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
