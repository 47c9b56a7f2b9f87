"""Runs a team's event loop to its end, whatever a plugin does to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("aats.team")

LAST = 1.0
"""Seconds that what a plugin left running has to end after the team; the process ends without it then."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, as `asyncio.run` does, but have no other task end the process, or keep it.

    A `sys.exit` in a task that a handler began for itself leaves the loop at once, with all other tasks where they
    are. It is that task's failure and nothing more; the loop goes on.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(main, name="team")
    try:
        _complete(loop, task)
    finally:
        left = asyncio.all_tasks(loop)
        for each in left:
            each.cancel()
        if left:
            _complete(loop, loop.create_task(asyncio.wait(left, timeout=LAST)))
        if not asyncio.all_tasks(loop):
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        else:
            loop.set_exception_handler(lambda _, __: None)  # there is no more to say of them


def _complete(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    while True:
        try:
            loop.run_until_complete(task)
            return
        except SystemExit as error:
            if task.done():
                raise
            log.error("something that a handler began tried to end the process: %r", error)
