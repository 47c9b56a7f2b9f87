"""Runs a team's event loop to its end, whatever a plugin does to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("aats.team")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, as `asyncio.run` does, but have no other task end the process.

    A `sys.exit` in a task that a handler began for itself leaves the loop at once, with all other tasks where they
    are. It is that task's failure and nothing more; the loop goes on.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main, name="team")
        while True:
            try:
                return loop.run_until_complete(task)
            except SystemExit as error:
                if task.done():
                    raise
                log.error("something that a handler began tried to end the process: %r", error)
