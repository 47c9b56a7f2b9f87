"""Locks in MongoDB: a document each, held until a time by the server's clock that its holder keeps moving on."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from aats_core.clock import Clock
from aats_core.storage.locks import Attempt, Holder, Locks
from aats_store_mongodb.database import Database, ended
from aats_store_mongodb.servertime import later

_LOCKS = "locks"
_LOOK = 0.25
"""Seconds, more or less, between two looks whether a holder elsewhere has released its lock before its time."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class MongoLocks(Locks):
    """Locks, each taken by one command that changes its document only where nobody holds it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(clock, logging.getLogger("aats.store.mongodb"))
        self._database = database

    async def _try(self, holder: Holder) -> Attempt:
        found = await ended(self._look(holder))
        if found["holder"] == holder.id:
            return Attempt(int(found["token"]))
        return Attempt(wait=max(found["left"] / 1000, 0.001))

    async def _wait(self, name: str, seconds: float) -> None:  # noqa: ARG002 - nobody tells which lock is free
        look = _LOOK * random.uniform(0.5, 1.5)  # noqa: S311 - spreads looks, hides nothing
        await self._clock.sleep(min(look, seconds))

    async def _look(self, holder: Holder) -> Mapping[str, Any]:
        """Take the lock where it is free, and return who has it, with what token and for how many milliseconds.

        An attempt whose answer was lost finds that it has the lock.
        """
        mine = {"$eq": ["$holder", holder.id]}
        token = {"$add": [{"$ifNull": ["$token", 0]}, {"$cond": [mine, 0, 1]}]}
        taken = {"token": token, "holder": holder.id, "until": later(holder.ttl)}
        free = {"$or": [{"$lte": ["$until", "$$NOW"]}, mine]}
        changes = [{"$set": {field: {"$cond": [free, value, f"${field}"]} for field, value in taken.items()}}]
        shown = {"token": 1, "holder": 1, "left": {"$subtract": ["$until", "$$NOW"]}}
        target, wanted = self._database.own(_LOCKS), {"_id": holder.name}
        with self._database.call(f"lock {holder.name}", {"update": target.name, "updates": [{"q": wanted}]}):
            while True:
                try:
                    found: Mapping[str, Any] = await target.find_one_and_update(
                        wanted, changes, projection=shown, upsert=True, return_document=ReturnDocument.AFTER
                    )
                except DuplicateKeyError:  # somebody else has just made it, so now it is there
                    continue
                return found

    async def _extend(self, holder: Holder) -> bool:
        return await self._set_until(holder, later(holder.ttl))

    async def _free(self, holder: Holder) -> None:
        await self._set_until(holder, _LONG_AGO)

    async def _set_until(self, holder: Holder, until: Any) -> bool:
        """Say until when a lock is held; tells whether it still is."""
        target, wanted = self._database.own(_LOCKS), {"_id": holder.name, "holder": holder.id}
        with self._database.call(f"lock {holder.name}", {"update": target.name, "updates": [{"q": wanted}]}):
            return bool((await target.update_one(wanted, [{"$set": {"until": until}}])).matched_count)
