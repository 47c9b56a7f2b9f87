"""The key-value store: one Redis key for each, so that those of a namespace spread over a cluster."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager
from typing import Any

from aats_core.errors import InvalidDocument, StoreError
from aats_core.query.values import MAX_INT, MIN_INT
from aats_core.storage.evaluated.codec import decode, encode
from aats_core.storage.keyvalues import check_limit, check_ttl
from aats_core.store import KeyValueStore, Lock
from aats_store_redis.link import Link
from aats_store_redis.locks import RedisLocks
from aats_store_redis.scripts import script

_BYTES = b"\0"
"""What a value that is bytes begins with; no JSON does."""

_LONGEST = 2**53


class RedisKeyValues(KeyValueStore):
    """Values under string keys in Redis."""

    def __init__(self, link: Link, locks: RedisLocks, namespace: str, largest: int) -> None:
        self._link = link
        self._locks = locks
        self._namespace = namespace
        self._largest = largest

    def _key(self, key: str, kind: str = "k") -> str:
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"{key!r}: a key holds no half of a surrogate pair") from error
        return f"aats:{self._namespace}:{kind}:{key}"

    async def get(self, key: str) -> Any:
        """Return the value, or None."""
        name = self._key(key)
        data = await self._link.ask(name, "GET", name, repeat=True)
        return None if data is None else decode_value(data)

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Write a value, for `ttl` seconds or for good; None is kept by keeping nothing."""
        check_ttl(key, ttl)
        name, data = self._key(key), encode_value(value, key)
        if len(data) > self._largest:
            raise InvalidDocument(f"{key}: the value has {len(data)} bytes, the store takes {self._largest}")
        if value is None:
            await self._link.ask(name, "DEL", name)
        elif ttl is None:
            await self._link.ask(name, "SET", name, data)
        else:
            await self._link.ask(name, "SET", name, data, "PX", milliseconds(ttl))

    async def delete(self, key: str) -> bool:
        """Delete a key; tells whether there was one."""
        name = self._key(key)
        return bool(await self._link.ask(name, "DEL", name))

    async def increment(self, key: str, by: int = 1) -> int:
        """Add to an integer and return the new value; its time to live stays. `StoreError` where it is no integer."""
        if not MIN_INT <= by <= MAX_INT:
            raise StoreError(f"{key}: {by} does not fit into 64 bits")
        name = self._key(key)
        try:
            number: int = await self._link.ask(name, "INCRBY", name, by)
        except StoreError as error:
            if "integer" not in str(error) and "overflow" not in str(error):
                raise
            raise StoreError(f"{key}: holds no integer to add {by} to, or the sum does not fit into 64 bits") from error
        return number

    def lock(self, name: str, *, ttl: float = 30.0, timeout: float | None = None) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock while in the context."""
        return self._locks.hold(name, ttl, timeout)

    async def limit(self, key: str, *, rate: int, per: float) -> float:
        """Take one of `rate` permits per `per` seconds, by a bucket of `rate` permits that is filled steadily.

        Returns 0.0, or the seconds after which to try again. By the generic cell rate algorithm and the server's clock.
        """
        check_limit(key, rate, per)
        span = per * 1e6
        wait: int = await self._link.run(script("limit"), self._key(key, "r"), span / rate, span)
        return wait / 1e6


def milliseconds(seconds: float) -> int:
    """Return a length of time as Redis takes it."""
    return max(1, math.ceil(min(seconds * 1000, _LONGEST)))


def encode_value(value: Any, place: str) -> bytes:
    """Return the stored form of a value; an integer is one to Redis too."""
    return _BYTES + value if isinstance(value, bytes) else encode(value, place)


def decode_value(data: bytes) -> Any:
    """Return the value of a stored form."""
    return data[1:] if data.startswith(_BYTES) else decode(data)
