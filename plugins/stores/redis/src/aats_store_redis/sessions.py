"""Sessions: some values under an id that nobody can guess, which live for as long as they are used."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from aats_core.storage.keyvalues import check_ttl
from aats_core.store import Capability, Document
from aats_store_redis.keyvalue import decode_value, encode_value, milliseconds
from aats_store_redis.link import Link
from aats_store_redis.scripts import Word, script

_ID_BYTES = 32


class RedisSessions(Capability):
    """Keeps sessions, each a hash whose time to live begins anew whenever it is read or changed."""

    def __init__(self, link: Link, namespace: str) -> None:
        self._link = link
        self._prefix = f"aats:{namespace}:s:"

    async def create(self, values: Mapping[str, Any], *, ttl: float) -> str:
        """Make a session that ends `ttl` seconds after it was used last, and return its id."""
        check_ttl("session", ttl)
        made = secrets.token_urlsafe(_ID_BYTES)
        await self._run(made, values, milliseconds(ttl))
        return made

    async def get(self, id: str) -> Document | None:
        """Return the values of a session, which lives on from now; None where there is no such session any more."""
        return await self._run(id, {}, 0, repeat=True)

    async def update(self, id: str, values: Mapping[str, Any]) -> Document | None:
        """Write some of the values of a session, or take those out that are None, and return all of them."""
        return await self._run(id, values, 0)

    async def delete(self, id: str) -> bool:
        """End a session; tells whether there was one."""
        key = self._prefix + id
        return bool(await self._link.ask(key, "DEL", key))

    async def _run(self, id: str, values: Mapping[str, Any], ttl: int, *, repeat: bool = False) -> Document | None:
        words: list[Word] = []
        for name, value in values.items():
            words += (f".{name}", b"" if value is None else encode_value(value, name))
        found: Sequence[bytes] = await self._link.run(script("session"), self._prefix + id, ttl, *words, repeat=repeat)
        fields = zip(found[::2], found[1::2], strict=True)
        return {name[1:].decode(): decode_value(data) for name, data in fields if name != b"ttl"} if found else None
