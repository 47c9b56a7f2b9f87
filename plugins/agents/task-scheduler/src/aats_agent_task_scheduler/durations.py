"""Where learned run times are kept between runs of the team."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from aats_agent_task_scheduler.estimates import Duration, Estimates
from aats_core.clock import Clock
from aats_core.store import Index, Put, RecordStore, Schema

COLLECTION = "durations"
"""The collection that holds one document for each kind and label."""

KEPT = 180 * 86_400.0
"""Seconds for which a run time that nothing confirms is kept."""

TIMEOUT = 10.0
"""Seconds to wait for the store."""

log = logging.getLogger("aats.task-scheduler")


class Durations:
    """Loads and saves estimates. A store that fails or hangs costs what was learned, never an exception."""

    def __init__(self, store: RecordStore, estimates: Estimates, clock: Clock) -> None:
        self._store = store
        self._estimates = estimates
        self._clock = clock
        self._failing = False

    async def load(self) -> None:
        """Make the collection where needed, and take over the latest of what it holds."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._store.ensure(COLLECTION, Schema(indexes=(Index({"updated": 1}, expire_after=KEPT),)))
                documents = await self._store.find(COLLECTION, sort={"updated": -1}, limit=self._estimates.limit)
        except Exception:
            log.exception("run times learned earlier could not be loaded; starting without them")
            return
        found = (_duration(document) for document in reversed(documents))
        self._estimates.load(duration for duration in found if duration is not None)

    async def save(self) -> None:
        """Write what has been learned since the last time; what could not be written is tried again the next time."""
        changed = self._estimates.changed()
        if not changed:
            return
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._store.write([Put(COLLECTION, _document(each, now)) for each in changed])
        except Exception as error:
            self._estimates.unsaved(changed)
            if not self._failing:
                log.exception("learned run times cannot be stored for now: %s", error)
            self._failing = True
        else:
            self._failing = False


def _document(duration: Duration, now: datetime) -> dict[str, Any]:
    return {"_id": f"{duration.kind} {duration.name}", **msgspec.structs.asdict(duration), "updated": now}


def _duration(document: dict[str, Any]) -> Duration | None:
    try:
        return msgspec.convert(document, Duration)
    except msgspec.ValidationError as error:
        log.warning("passed over the stored run time %r: %s", document.get("_id"), error)
        return None
