"""What a consumer does beside handing out messages, and sees to the end of before it leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aats_core.errors import BrokerUnavailable

log = logging.getLogger(__name__)


class Chores:
    """Runs them at once; where one fails `failed` is called, so that the server does what was not done."""

    def __init__(self, label: str, failed: Callable[[], None]) -> None:
        self._label = label
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin something that nobody has to wait for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def see_to(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something to its end, also where whoever wants it is cancelled; raises what it raises."""
        task = self.begin(work)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def end(self, patience: float) -> None:
        """Let all come to its end within so many seconds, then cancel: a call that is cancelled ends its channel."""
        if self._tasks and patience:
            await asyncio.wait(self._tasks, timeout=patience)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, BrokerUnavailable):
                log.error("%s: %s", self._label, error, exc_info=error)
            self._failed()
