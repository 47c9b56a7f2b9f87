"""Records over a database that only keeps texts under keys keep the whole contract, whatever the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from aats_core.clock import Clock, VirtualClock
from aats_core.errors import StoreUnavailable
from aats_core.health import Health, HealthStatus
from aats_core.settings import StoreSettings
from aats_core.storage.collection import KnownCollection, extended
from aats_core.storage.evaluated import (
    UNSEEN,
    Change,
    Commit,
    Database,
    EvaluatedRecords,
    Stored,
    taken_id,
    taken_values,
)
from aats_core.storage.evaluated.codec import decode
from aats_core.storage.evaluated.keys import claims_of
from aats_core.storage.evaluated.narrowing import entries_of, ranges_for
from aats_core.storage.expiry import sweep_regularly
from aats_core.store import Capability, Schema, Store
from aats_core.testing.stores import RecordStoreContract


class Data:
    """What the database of a test holds."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[str, bytes]] = {}
        self.schemas: dict[str, Schema] = {}
        self.revisions: dict[str, int] = {}
        self.read: list[int] = []
        """How many documents each search has looked at."""


class Dictionaries(Database):
    """A database of dictionaries; each of its calls lets others run, as one over a network does."""

    timeout = 5.0
    largest = 16 * 1024 * 1024

    def __init__(self, data: Data) -> None:
        self.data = data
        self.open = False
        self._known: dict[str, KnownCollection] = {}

    async def _called(self) -> None:
        await asyncio.sleep(0)
        if not self.open:
            raise StoreUnavailable

    async def collection(self, name: str, *, fresh: bool = False) -> KnownCollection:
        if fresh or name not in self._known:
            await self._called()
            self._known[name] = KnownCollection(0, name, self.data.schemas.get(name, Schema()))
        return self._known[name]

    async def fetch(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        await self._called()
        return [self.data.bodies.get(name, {}).get(key) for key in keys]

    async def candidates(self, collection: KnownCollection, clause: Any) -> AsyncGenerator[Sequence[Stored], None]:
        await self._called()
        ranges = ranges_for(collection, clause)
        bodies = list(self.data.bodies.get(collection.name, {}).items())
        self.data.read.append(0)
        for key, body in bodies:
            entries = entries_of(collection, decode(body)) if ranges is not None else []
            if ranges is None or any(low <= each < high for n, low, high in ranges for each in entries[n]):
                self.data.read[-1] += 1
                yield [Stored(key, body)]

    async def revision(self, collection: KnownCollection) -> int:
        await self._called()
        return self.data.revisions.get(collection.name, 0)

    async def commit(self, commit: Commit) -> bool:
        await self._called()
        for name, known in commit.collections.items():
            if known.schema != self.data.schemas.get(name, Schema()):
                return False
        if any(self.data.revisions.get(name, 0) != revision for name, revision in commit.revisions.items()):
            return False
        places = [(name, key, seen) for name, reads in commit.reads.items() for key, seen in reads.items()]
        places += [(name, each.key, each.seen) for name, changes in commit.changes.items() for each in changes]
        if any(seen is not UNSEEN and self.data.bodies.get(name, {}).get(key) != seen for name, key, seen in places):
            return False
        for name, changes in commit.changes.items():
            self._check(commit.collections[name], changes)
        for name, changes in commit.changes.items():
            self._apply(name, changes)
        return True

    def _check(self, known: KnownCollection, changes: Sequence[Change]) -> None:
        bodies = dict(self.data.bodies.get(known.name, {}))
        for change in changes:
            if change.new and change.key in bodies:
                raise taken_id(known.name, bodies[change.key])
            bodies.pop(change.key, None)
        bodies |= {change.key: change.body for change in changes if change.body is not None}
        held: set[str] = set()
        for body in bodies.values():
            for claim in claims_of(known, decode(body)):
                if claim in held:
                    raise taken_values(known.name, known.schema.indexes[int(claim.partition(":")[0])])
                held.add(claim)

    def _apply(self, name: str, changes: Sequence[Change]) -> None:
        bodies = self.data.bodies.setdefault(name, {})
        for change in changes:
            if change.body is None:
                bodies.pop(change.key, None)
            else:
                bodies[change.key] = change.body
        self.data.revisions[name] = self.data.revisions.get(name, 0) + 1

    async def ensure(self, name: str, schema: Schema) -> None:
        await self._called()
        merged = extended(self.data.schemas.get(name, Schema()), schema)
        known = KnownCollection(0, name, merged)
        self._check(known, [])
        self.data.schemas[name] = merged
        self._known[name] = known


class DictionaryStore(Store):
    """A store over the dictionaries of a test."""

    Settings = StoreSettings

    def __init__(self, data: Data, clock: Clock) -> None:
        self._database = Dictionaries(data)
        self._clock = clock
        self.records = EvaluatedRecords(self._database, clock)
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def capabilities(self) -> Sequence[Capability]:
        return [self.records]

    async def connect(self) -> None:
        self._database.open = True
        self._sweeping = asyncio.create_task(sweep_regularly(self._sweep, self._clock, 60.0, None))  # type: ignore[arg-type] # nothing fails

    async def _sweep(self) -> None:
        await self.records.expire(list(self._database.data.schemas))

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await self.records.drain()
        self._database.open = False

    async def health(self) -> Health:
        return Health() if self._database.open else Health(HealthStatus.DOWN, "it is closed")

    @property
    def native(self) -> Any:
        return self._database


class TestRecords(RecordStoreContract):
    examples = 20

    @pytest.fixture(autouse=True)
    def _data(self):
        self.data, self.clock = Data(), VirtualClock()

    def make_store(self) -> DictionaryStore:
        return DictionaryStore(self.data, self.clock)

    async def advance_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.time()
