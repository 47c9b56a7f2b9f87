"""Clients of a store that write and read until they are told to stop, and remember what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aats_core.errors import StoreUnavailable
from aats_core.store import GraphStore, Insert, KeyValueStore, RecordStore, Relation, Store

PROGRESS = 50
"""Writes that are confirmed before a load counts as running."""


def offered(store: Store, kind: type[Any]) -> Any:
    """Return one of the capabilities of a store."""
    return next(each for each in store.capabilities if isinstance(each, kind))


class Outcome(NamedTuple):
    """What came of a load: how many writes were confirmed, how many calls failed, and what should not be."""

    confirmed: int
    failed: int
    lost: list[str]
    """What was confirmed and is not there."""
    wrong: list[str]
    """What was applied in part, more often than it was asked for, or never asked for."""


class Load:
    """Clients of all that a store offers; `within` bounds how long one of their calls may take."""

    def __init__(self, store: Store, name: str, within: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
        self.stopping = False
        self._name, self._within = name, within
        self._records = offered(store, RecordStore)
        self._values = next((each for each in store.capabilities if isinstance(each, KeyValueStore)), None)
        self._graph = next((each for each in store.capabilities if isinstance(each, GraphStore)), None)
        self._confirmed: set[str] = set()
        self._attempted: set[str] = set()
        self._related: set[str] = set()
        self._failed = 0
        self._least = self._most = 0
        """How often the counter was surely, and at most, increased."""

    async def run(self, clients: int) -> None:
        """Work until told to stop."""
        await asyncio.gather(*(self._client(number) for number in range(clients)))

    def progress(self) -> Callable[[], Awaitable[bool]]:
        """Return what tells whether enough was confirmed since now."""
        before = len(self._confirmed)

        async def enough() -> bool:
            return len(self._confirmed) > before + PROGRESS

        return enough

    async def outcome(self) -> Outcome:
        """Return what came of it; call it once the load has ended."""
        found = {each["_id"] for each in await self._records.find(self._name)}
        lost, wrong = self._confirmed - found, found - self._attempted
        wrong |= {key for key in self._attempted if f"with {key}" in self._attempted and _torn(key, found)}
        if self._values is not None:
            count = await self._values.get(self._name) or 0
            lost |= {f"an increment, the {number}." for number in range(count + 1, self._least + 1)}
            wrong |= {f"an increment, the {number}." for number in range(self._most + 1, count + 1)}
        if self._graph is not None:
            lost |= self._related - set(await self._graph.neighbours(self._name, "all"))
        confirmed = len(self._confirmed) + self._least + len(self._related)
        return Outcome(confirmed, self._failed, sorted(lost), sorted(wrong))

    async def _client(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            try:
                await self._within(self._work(f"{number}-{turn}", turn))
            except StoreUnavailable:
                self._failed += 1
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)

    async def _work(self, key: str, turn: int) -> None:
        match turn % 4:
            case 0 if self._values is not None:
                self._most += 1
                await self._values.increment(self._name)
                self._least += 1
            case 1 if self._graph is not None:
                await self._graph.relate(self._name, Relation("all", "has", key))
                self._related.add(key)
            case 2:
                self._attempted.add(key)
                await self._records.insert(self._name, {"_id": key})
                await self._confirm(key)
            case _:
                self._attempted |= {key, f"with {key}"}
                await self._records.write([Insert(self._name, {"_id": each}) for each in (key, f"with {key}")])
                await self._confirm(key, f"with {key}")

    async def _confirm(self, *keys: str) -> None:
        self._confirmed.update(keys)
        assert await self._records.find(self._name, {"_id": keys[0]}) == [{"_id": keys[0]}], (
            "what was confirmed is there"
        )


def _torn(key: str, found: set[str]) -> bool:
    return (key in found) != (f"with {key}" in found)
