"""Work in the background that goes on whatever happens, until it is ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

REST = 1.0
"""Seconds before work that failed begins again."""
INSIST = 0.1
"""Seconds before what goes on in spite of a cancellation is cancelled again."""


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and return once they have ended: the driver may swallow a cancellation that comes while it reads."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=INSIST)


async def lasting(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do work to its end, and again where it fails in a way that nobody thought of, which is logged."""
    while True:
        try:
            return await work()
        except Exception:  # noqa: BLE001 - whatever it is, consumers must not be left waiting for ever
            _log.exception("%s failed; it begins again", what)
            await asyncio.sleep(REST)
