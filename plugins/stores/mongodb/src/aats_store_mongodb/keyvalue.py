"""The key-value store: values with a time to live, counters and rate limits, all by the server's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from bson import Int64
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

from aats_core.errors import StoreError
from aats_core.query.values import MAX_INT, MIN_INT, normal
from aats_core.storage.keyvalues import check_limit, check_ttl
from aats_core.store import KeyValueStore, Lock
from aats_store_mongodb.database import Database
from aats_store_mongodb.locks import MongoLocks
from aats_store_mongodb.servertime import LIVES, NOW, later
from aats_store_mongodb.wire import restored

_KEYS, _LIMITS = "keys", "limits"

_RESOLUTION = 1e-5
"""Seconds by which sums of times may be off."""
_FAILED_CONVERSION = 241
_ATTEMPTS = 5
"""How often a document is changed or made, where others make it in between."""


class MongoKeyValues(KeyValueStore):
    """Values under string keys in a MongoDB database; a value of None is none."""

    def __init__(self, database: Database, locks: MongoLocks) -> None:
        self._database = database
        self._locks = locks

    async def prepare(self) -> None:
        """Have the server delete what has run out; what it has not deleted yet is not found either."""
        for name in (_KEYS, _LIMITS):
            make = partial(self._database.own(name).create_index, "expires", expireAfterSeconds=0)
            await self._database.repeat(make)

    async def get(self, key: str) -> Any:
        """Return the value, or None."""
        keys, wanted = self._database.own(_KEYS), {"_id": key, "$expr": LIVES}
        with self._database.call(key, {"find": keys.name, "filter": wanted}):
            found = await self._database.repeat(lambda: keys.find_one(wanted))
        return None if found is None else restored(found["value"])

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Write a value, for `ttl` seconds or for good."""
        check_ttl(key, ttl)
        if value is None:
            await self.delete(key)
            return
        document = {"_id": key, "value": {"$literal": normal(value, key)}}
        if ttl is not None:
            document["expires"] = later(ttl)
        await self._change(_KEYS, key, [{"$replaceWith": document}])

    async def delete(self, key: str) -> bool:
        """Delete a key; tells whether there was one."""
        keys, wanted = self._database.own(_KEYS), {"_id": key, "$expr": LIVES}
        with self._database.call(key, {"delete": keys.name, "deletes": [{"q": wanted, "limit": 1}]}):
            return bool((await keys.delete_one(wanted)).deleted_count)

    async def increment(self, key: str, by: int = 1) -> int:
        """Add to an integer and return the new value; its time to live stays. `StoreError` where it is no integer."""
        if not MIN_INT <= by <= MAX_INT:
            raise StoreError(f"{key}: {by} does not fit into 64 bits")
        changes = {"value": _sum(by), "expires": {"$cond": [LIVES, "$expires", "$$REMOVE"]}}
        try:
            changed = await self._change(_KEYS, key, [{"$set": changes}])
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, OperationFailure) and cause.code == _FAILED_CONVERSION:
                text = f"{key}: holds no integer to add {by} to, or the sum does not fit into 64 bits"
                raise StoreError(text) from error
            raise
        return int(changed["value"])

    def lock(self, name: str, *, ttl: float = 30.0, timeout: float | None = None) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock while in the context."""
        return self._locks.hold(name, ttl, timeout)

    async def limit(self, key: str, *, rate: int, per: float) -> float:
        """Take one of `rate` permits per `per` seconds, by a bucket of `rate` permits that is filled steadily.

        Returns 0.0, or the seconds after which to try again. By the generic cell rate algorithm, which keeps one time:
        until when permits are taken.
        """
        check_limit(key, rate, per)
        taken = {"$add": ["$until", per / rate]}
        wait = {"$subtract": [taken, {"$add": [NOW, per]}]}
        until = {"$cond": [{"$lte": [wait, _RESOLUTION]}, taken, "$until"]}
        steps: list[dict[str, Any]] = [
            {"$set": {"until": {"$max": ["$until", NOW]}}},
            {"$set": {"wait": wait, "until": until}},
            {"$set": {"expires": {"$toDate": {"$multiply": ["$until", 1000]}}}},
        ]
        wait_for: float = (await self._change(_LIMITS, key, steps))["wait"]
        return 0.0 if wait_for <= _RESOLUTION else wait_for

    async def _change(self, name: str, key: str, steps: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Have the server compute a document anew from itself, made where there is none, and return it."""
        target, wanted = self._database.own(name), {"_id": key}
        with self._database.call(key, {"update": target.name, "updates": [{"q": wanted, "u": steps}]}, writing=True):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    changed: Mapping[str, Any] = await target.find_one_and_update(
                        wanted, steps, upsert=True, return_document=ReturnDocument.AFTER
                    )
                except DuplicateKeyError:  # somebody else has just made it
                    if attempt == _ATTEMPTS:
                        raise
                else:
                    return changed
        raise AssertionError("the last attempt returns or raises")


def _sum(by: int) -> dict[str, Any]:
    """Return the sum of the value, 0 where there is none, and an integer; what is none fails to be converted."""
    old = {"$cond": [LIVES, {"$ifNull": ["$value", 0]}, 0]}
    integer = {"$in": [{"$type": "$$old"}, ["int", "long"]]}
    exact = {"$cond": [integer, {"$add": ["$$old", Int64(by)]}, "none"]}
    failing = {"$toLong": {"$concat": ["no integer: ", "$_id"]}}
    checked = {"$cond": [{"$eq": [{"$type": "$$sum"}, "long"]}, "$$sum", failing]}
    return {"$let": {"vars": {"old": old}, "in": {"$let": {"vars": {"sum": exact}, "in": checked}}}}
