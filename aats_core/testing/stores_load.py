"""Clients of a store that write and read until they are told to stop, and remember what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aats_core.errors import StoreUnavailable
from aats_core.store import GraphStore, Insert, KeyValueStore, RecordStore, Relation, Store

PROGRESS = 50
"""Writes that are confirmed before a load counts as running."""


def offered(store: Store, kind: type[Any]) -> Any:
    """Return one of the capabilities of a store."""
    return next(each for each in store.capabilities if isinstance(each, kind))


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

    async def check(self) -> None:
        """Fail where what was confirmed is lost, a write was applied in part, or something was done twice."""
        found = {each["_id"] for each in await self._records.find(self._name)}
        assert self._confirmed <= found <= self._attempted, f"lost: {sorted(self._confirmed - found)}"
        pairs = {key for key in self._attempted if f"with {key}" in self._attempted}
        assert all((key in found) == (f"with {key}" in found) for key in pairs), "a write was applied in part"
        if self._values is not None:
            assert self._least <= (await self._values.get(self._name) or 0) <= self._most
        if self._graph is not None:
            assert self._related <= set(await self._graph.neighbours(self._name, "all"))

    async def _client(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            try:
                await self._within(self._work(f"{number}-{turn}", turn))
            except StoreUnavailable:
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
