"""What is shown while plans are carried out, by a thread of its own: a stopped terminal must not hold a team back."""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aats_core.cli.output import silence
from aats_core.operations import PlanDetail, TaskEvent

REFRESH = 0.125
"""Seconds between two pictures of a moving display."""

WAITING_LIMIT = 100_000
"""Events that may wait to be shown; what comes while so many wait is not shown."""

log = logging.getLogger("aats.cli")


class Display(ABC):
    """Shows events; its methods are called one at a time, by a thread in which they may block."""

    @abstractmethod
    def begin(self, plan: PlanDetail) -> None:
        """Take in a plan as it stands, before its first event."""

    @abstractmethod
    def event(self, event: TaskEvent) -> None:
        """Show one event; it may be older than what `begin` told."""

    def note(self, text: str) -> None:
        """Show a message of the program, on stderr."""
        print(f"aats: {text}", file=sys.stderr, flush=True)

    def refresh(self, now: float) -> None:  # noqa: B027 - only a moving display has anything to do
        """Show what the passing of time changes; called about every `REFRESH` seconds."""

    def end(self) -> None:  # noqa: B027 - only a moving display has anything to do
        """Leave the terminal so that a summary can follow."""


class Screen:
    """A context manager that hands what happens to a display; each method returns at once.

    Leaving waits until everything has been shown. Where nobody reads the output any more the work goes on in
    silence, for it does not depend on being watched.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show what is left."""
        self._queue.put(None)
        self._thread.join()

    def begin(self, plan: PlanDetail) -> None:
        """Show a plan from now on."""
        self._queue.put(lambda: self._display.begin(plan))

    def event(self, event: TaskEvent) -> None:
        """Show an event."""
        if self._queue.qsize() < WAITING_LIMIT:
            self._queue.put(lambda: self._display.event(event))

    def note(self, text: str) -> None:
        """Show a message."""
        self._queue.put(lambda: self._display.note(text))

    def _run(self) -> None:
        shown = time.monotonic()
        while True:
            try:
                show = self._queue.get(timeout=REFRESH)
                if show is None:
                    break
                self._safely(show)
            except queue.Empty:
                pass
            if time.monotonic() - shown >= REFRESH:
                self._safely(lambda: self._display.refresh(time.time()))
                shown = time.monotonic()
        self._safely(self._display.end)

    def _safely(self, show: Callable[[], None]) -> None:
        try:
            show()
            sys.stdout.flush()
        except OSError as error:
            log.warning("nothing more is shown: %s", error)
            silence()
        except Exception:
            log.exception("something could not be shown")
