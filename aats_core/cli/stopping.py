"""Signals: the first lets a team drain, the second stops it at once, the third ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
from types import TracebackType
from typing import Self

from aats_core.cli.screen import Screen
from aats_core.team import Team

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """An async context manager that turns SIGINT and SIGTERM into the end of a team.

    Before the team has `started`, a signal ends the block at once. `signal` is the number of the first.
    """

    def __init__(self, team: Team, screen: Screen, *, grace: float) -> None:
        self.signal = 0
        self.started = False
        self._team = team
        self._screen = screen
        self._grace = grace
        self._count = 0
        self._cancelled = False
        self._main: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Self:
        """Catch signals."""
        self._main = asyncio.current_task()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._caught, number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Leave signals to Python again."""
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
        if kind is asyncio.CancelledError and self._cancelled and self._main is not None:
            self._main.uncancel()
            return True
        return False

    def _caught(self, number: int) -> None:
        self._count += 1
        self.signal = self.signal or number
        if self._count > 2:
            os._exit(128 + number)
        if not self.started and self._main is not None:
            self._cancelled = True
            self._main.cancel()
        elif self._count == 1:
            self._screen.note(f"draining: running tasks have {self._grace:g} s to finish; once more stops at once")
            self._team.request_stop()
        else:
            self._screen.note("stopping at once")
            self._team.request_stop(now=True)
