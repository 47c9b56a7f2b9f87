"""Records over a database that only keeps texts under keys keep the whole contract, whatever the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from aats_core.clock import Clock, VirtualClock
from aats_core.errors import Conflict, StoreUnavailable
from aats_core.health import Health, HealthStatus
from aats_core.query import matcher, parse_filter
from aats_core.query.values import equal, identical, normal
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
from aats_core.storage.evaluated.codec import decode, decode_all, encode
from aats_core.storage.evaluated.keys import claims_of, id_key
from aats_core.storage.evaluated.narrowing import entries_of, ranges_for
from aats_core.storage.expiry import sweep_regularly
from aats_core.store import Capability, Index, Schema, Store
from aats_core.testing import strategies
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
        self.commits = 0
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
                yield [(key, body)]

    async def revision(self, collection: KnownCollection) -> int:
        await self._called()
        return self.data.revisions.get(collection.name, 0)

    async def commit(self, commit: Commit) -> bool:
        await self._called()
        self.commits += 1
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
    def native(self) -> Dictionaries:
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


def examples(function: Any) -> Any:
    return settings(max_examples=150, deadline=None, database=None)(function)


@examples
@given(value=strategies.values(), other=strategies.values())
def test_values_are_equal_just_where_their_keys_are(value, other):
    value, other = normal(value), normal(other)
    if isinstance(value, list) or isinstance(other, list):
        return
    assert (id_key(value) == id_key(other)) == equal(value, other)


def test_numbers_that_no_float_tells_apart_have_keys_of_their_own():
    numbers = [2**53, 2**53 + 1, 2**63 - 1, 2.0**63, Decimal("0.1"), 0.1, Decimal("1E+400"), float("inf"), 5e-324, 0]
    assert len(set(map(id_key, numbers))) == len(numbers)
    assert id_key(-0.0) == id_key(0) == id_key(Decimal("0E+3"))
    assert id_key(Decimal("9007199254740993.0")) == id_key(2**53 + 1)
    assert id_key(float("nan")) == id_key(Decimal("NaN"))


@examples
@given(document=strategies.documents())
def test_what_is_stored_comes_back(document):
    assert identical(decode(encode(document)), normal(document))


@examples
@given(documents=st.lists(strategies.documents(), max_size=5), fields=st.frozensets(strategies.names()))
def test_several_are_restored_together_whole_or_with_some_of_their_fields(documents, fields):
    stored = [encode(document) for document in documents]
    fields |= {"half of a pair: \ud800"}

    whole, parts = decode_all(stored), decode_all(stored, fields)

    assert identical(whole, normal(documents))
    for document, part in zip(whole, parts, strict=True):
        assert fields & document.keys() <= part.keys() <= document.keys()
        assert identical(part, {name: normal(document)[name] for name in part})


@examples
@given(document=strategies.documents(), filters=st.lists(strategies.filters(), min_size=1, max_size=5))
def test_what_matches_lies_in_the_parts_of_indexes_that_are_searched(document, filters):
    indexes = (Index({"a": 1, "b": -1}), Index({"b": 1}), Index({"a.b": 1, "c": 1}), Index({"a.0": 1}))
    known, document = KnownCollection(0, "some", Schema(indexes)), normal({"_id": 1, **document})
    entries = entries_of(known, document)
    for each in filters:
        clause = parse_filter(each)
        ranges = ranges_for(known, clause)
        if ranges is not None and matcher(clause)(document):
            assert any(low <= entry < high for number, low, high in ranges for entry in entries[number]), each


@pytest.mark.parametrize(
    ("search", "finds"),
    [
        ("fox", True),
        ("FÓX", True),
        ("cat", False),
        ("cat fox", True),
        ('"brown fox"', True),
        ('"fox brown"', False),
        ('"brown fox" "lazy dog"', True),
        ('"fox jumps"', False),
        ("fox -lazy", False),
        ("fox -cat", True),
        ("-cat", False),
        ("...", False),
        ("élan", True),
        ("secret", False),
    ],
)
def test_text_is_searched_by_words_without_case_and_accents(search, finds):
    document = {
        "_id": 1,
        "a": "The quick brown Fox.",
        "b": ["jumps", "a Lazy, dog", 5],
        "c": {"d": "ÉLAN"},
        "e": "secret",
    }
    text = parse_filter({"$text": {"$search": search}})
    paths = (("a",), ("b",), ("c", "d"))
    known = KnownCollection(0, "some", Schema((Index({"a": 1, "b": 1, "c.d": 1}, text=True),)))

    assert matcher(structs.replace(text, paths=paths))(document) is finds
    if finds:
        (entries,) = entries_of(known, document)
        assert any(low <= entry < high for _, low, high in ranges_for(known, text) for entry in entries)


def test_a_search_reads_only_what_the_best_index_leaves():
    async def scenario():
        data = Data()
        store = DictionaryStore(data, VirtualClock())
        await store.connect()
        await store.records.ensure("some", Schema(indexes=(Index({"a": 1}), Index({"b": 1, "c": 1}))))
        await store.records.insert("some", *({"_id": n, "a": n % 2, "b": n % 10, "c": n} for n in range(100)))
        for filter_, most in (
            ({"a": 1}, 50),
            ({"b": 3}, 10),
            ({"a": 1, "b": 3, "c": {"$gte": 50}}, 5),
            ({"$or": [{"b": 3, "c": 3}, {"b": 4, "c": {"$in": [4, 5]}}]}, 2),
            ({"b": {"$in": []}}, 0),
        ):
            await store.records.find("some", filter_)
            assert data.read[-1] == most, filter_
        await store.close()

    asyncio.run(scenario())


def test_documents_named_by_their_ids_are_read_together():
    async def scenario():
        data = Data()
        store = DictionaryStore(data, VirtualClock())
        await store.connect()
        await store.records.insert("some", *({"_id": n, "n": 0} for n in range(50)))
        commits = store.native.commits
        await asyncio.gather(*(store.records.update("some", {"_id": n}, {"$inc": {"n": 1}}) for n in range(50)))
        assert store.native.commits - commits <= 2, "the first goes alone, and the others together"
        assert await store.records.count("some", {"n": 1}) == 50
        await store.close()

    asyncio.run(scenario())


def test_a_change_that_others_are_always_faster_than_ends_as_a_conflict(monkeypatch):
    async def scenario():
        data = Data()
        store = DictionaryStore(data, VirtualClock())
        monkeypatch.setattr(store.native, "timeout", 0.05)
        await store.connect()
        await store.records.insert("some", {"_id": 1, "n": 0})
        fetch = store.native.fetch

        async def slow_fetch(name, keys):
            found = await fetch(name, keys)
            data.read.append(0)
            data.bodies["some"][id_key(1)] = encode({"_id": 1, "n": len(data.read)})
            return found

        monkeypatch.setattr(store.native, "fetch", slow_fetch)
        with pytest.raises(Conflict, match="keep changing"):
            await store.records.update("some", {"_id": 1}, {"$inc": {"n": 1}})
        await store.close()

    asyncio.run(scenario())
