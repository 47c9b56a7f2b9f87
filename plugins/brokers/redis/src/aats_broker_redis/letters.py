"""The dead letters, as they lie on the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aats_broker_redis.client import Client
from aats_broker_redis.link import command
from aats_core.broker import DeadLetter, topic_matches
from aats_core.errors import InvalidPayload
from aats_core.message import decode, unreadable

PAGE = 200
"""Letters that are fetched at once."""


class Letters:
    """A stream of dead letters for each topic; an id is unique and grows over all of them."""

    def __init__(self, client: Client, root: str) -> None:
        self._client = client
        self._root = root

    async def add(self, topic: str, data: bytes, priority: int, *, reason: str, attempts: int) -> None:
        """Keep a message."""
        await self._client.link.store("bury", topic, data, priority, attempts, reason, until=self._client.until())

    async def of(self, topic: str) -> list[DeadLetter]:
        """Return the letters of a topic or pattern, oldest first."""
        link, found = self._client.link, list[tuple[str, list[Any]]]()
        words = "SMEMBERS", f"{self._root}dead"
        topics = await link.call(lambda client: command(client, *words), until=self._client.until())
        for name in filter(lambda name: topic_matches(topic, name), map(bytes.decode, topics)):
            after = "-"
            while page := await self._page(name, after):
                found += ((name, entry) for entry in page)
                after = f"({page[-1][0].decode()}"
        return sorted((_letter(name, entry) for name, entry in found), key=_age)

    async def finish(self, topic: str, how: str, ids: Sequence[str] | None, *edited: bytes | int) -> int:
        """Purge letters or replay them, each in one step, and return how many there were."""
        named = msgspec.msgpack.encode(None if ids is None else list(ids))
        count: int = await self._client.link.store("letters", topic, how, named, *edited, until=self._client.until())
        return count

    async def _page(self, name: str, after: str) -> list[Any]:
        words = "XRANGE", f"{self._root}dead:{name}", after, "+", "COUNT", PAGE
        page: list[Any] = await self._client.link.call(
            lambda client: command(client, *words), until=self._client.until()
        )
        return page


def _letter(topic: str, entry: list[Any]) -> DeadLetter:
    name, fields = entry
    reason, time = fields[b"r"].decode(), int(fields[b"w"]) / 1000
    try:
        message = decode(fields[b"m"])
    except InvalidPayload:
        message = unreadable(fields[b"m"])
    return DeadLetter(name.decode(), topic, message, reason, int(fields[b"a"]), time)


def _age(letter: DeadLetter) -> int:
    return int(letter.id.partition("-")[0])
