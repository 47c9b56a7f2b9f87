"""Deletes what has expired, from time to time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aats_core.clock import Clock
from aats_core.errors import StoreError


async def sweep_regularly(
    sweep: Callable[[], Awaitable[object]], clock: Clock, interval: float, log: logging.Logger
) -> None:
    """Sweep every so many seconds until cancelled; one that fails is logged and done again the next time."""
    while True:
        await clock.sleep(interval)
        try:
            await sweep()
        except StoreError as error:
            log.warning("what has expired could not be deleted, trying again: %s", error)
