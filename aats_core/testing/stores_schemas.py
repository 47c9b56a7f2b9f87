"""`RecordStore.ensure`: indexes, unique ones among them, documents that expire, full text, and JSON Schema."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aats_core.errors import DuplicateKey, InvalidQuery, SchemaMismatch
from aats_core.store import Index, Insert, Put, RecordStore, Schema, Update
from aats_core.testing.stores_harness import StoreHarness, promise

UNIQUE = Schema(indexes=(Index({"a": 1, "b.c": -1}, unique=True),))
PERSON = Schema(
    json_schema={
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    }
)
TEXTS = (
    {"_id": 1, "title": "The quick brown fox", "body": "jumps over the lazy dog"},
    {"_id": 2, "title": "A lazy afternoon", "body": "in the garden", "tags": ["quick", "nap"]},
    {"_id": 3, "title": "Caf\u00e9 society", "body": "a brown table"},
    {"_id": 4},
)


class SchemaPromises(StoreHarness[RecordStore]):
    """What a collection is told to hold."""

    lifetime: float = 60.0
    """Seconds that a document lives in the test of expiry; make it short where time passes as it does."""
    expiry_patience: float = 120.0
    """Seconds after its time within which a document has been deleted."""

    @promise()
    async def test_ensuring_makes_a_collection_and_again_changes_nothing(self, records: RecordStore) -> None:
        name = self.new_name()
        schema = Schema(indexes=(Index({"a": 1}), Index({"a": -1, "b": 1}), Index({"c.d": 1})))
        await records.ensure(name, schema)
        await records.insert(name, {"_id": 1, "a": 2, "c": {"d": 3}})
        await records.ensure(name, schema)
        await records.ensure(name, Schema())
        assert await records.find(name, {"a": 2, "c.d": 3}) == [{"_id": 1, "a": 2, "c": {"d": 3}}]

    @promise()
    async def test_an_index_finds_what_was_there_before(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, *({"_id": each, "a": each % 3} for each in range(9)))
        await records.ensure(name, Schema(indexes=(Index({"a": 1}),)))
        assert await records.count(name, {"a": 1}) == 3

    @promise()
    async def test_an_index_that_makes_no_sense_is_refused(self, records: RecordStore) -> None:
        name = self.new_name()
        refused = (Index({}), Index({"a": 2}), Index({"a": 1, "b": 1}, expire_after=1.0), Index({"a..b": 1}))
        for index in refused:
            async with self.expect(InvalidQuery, name):
                await records.ensure(name, Schema(indexes=(index,)))

    @promise("unique")
    async def test_a_unique_index_refuses_the_same_values_however_they_come(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, UNIQUE)
        await records.insert(name, {"_id": 1, "a": 1, "b": {"c": 1}}, {"_id": 2, "a": 1, "b": {"c": 2}})
        same = {"a": 1.0, "b": {"c": 1}}
        async with self.expect(DuplicateKey, name):
            await records.insert(name, same)
        for operation in (Insert(name, {"_id": 3, **same}), Put(name, {"_id": 2, **same})):
            async with self.expect(DuplicateKey, name):
                await records.write([Put(name, {"_id": 9}), operation])
        async with self.expect(DuplicateKey, name):
            await records.update(name, {"_id": 2}, {"$set": {"b.c": 1}})
        async with self.expect(DuplicateKey, name):
            await records.update(name, {"_id": 4, "a": 1}, {"$set": {"b.c": 1}}, upsert=True)
        found = await records.find(name, sort={"_id": 1})
        assert [(each["_id"], each["b"]["c"]) for each in found] == [(1, 1), (2, 2)]

    @promise("unique")
    async def test_a_document_may_keep_its_own_unique_values(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, UNIQUE)
        await records.write([Put(name, {"_id": 1, "a": 1}), Put(name, {"_id": 1, "a": 1, "n": 2})])
        await records.update(name, {"_id": 1}, {"$set": {"n": 3}})
        assert await records.find(name) == [{"_id": 1, "a": 1, "n": 3}]

    @promise("unique")
    async def test_values_that_are_free_again_can_be_taken(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, UNIQUE)
        await records.insert(name, {"_id": 1, "a": 1}, {"_id": 2, "a": 2})
        await records.delete(name, {"_id": 1})
        await records.update(name, {"_id": 2}, {"$set": {"a": 1}})
        await records.insert(name, {"_id": 3, "a": 2})
        assert await records.count(name) == 2

    @promise("unique")
    async def test_nothing_counts_as_null_and_each_element_counts(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, Schema(indexes=(Index({"a": 1}, unique=True),)))
        await records.insert(name, {"_id": 1}, {"_id": 2, "a": ["x", "y"]})
        taken: list[Any] = [{"_id": 3}, {"_id": 3, "a": None}, {"_id": 3, "a": "y"}, {"_id": 3, "a": ["z", "x"]}]
        for document in taken:
            async with self.expect(DuplicateKey):
                await records.insert(name, document)
        await records.insert(name, {"_id": 3, "a": True}, {"_id": 4, "a": 1}, {"_id": 5, "a": "1"})

    @promise("unique")
    async def test_an_index_cannot_become_unique_over_what_is_not(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1, "a": 1}, {"_id": 2, "a": 1})
        async with self.expect(DuplicateKey, name):
            await records.ensure(name, UNIQUE)
        await records.insert(name, {"_id": 3, "a": 1})
        assert await records.count(name) == 3

    @promise("unique")
    async def test_one_of_many_gets_a_unique_value(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, UNIQUE)
        writes = [records.write([Put(name, {"_id": each, "a": each // 2})]) for each in range(20)]
        ends = await asyncio.gather(*writes, return_exceptions=True)
        assert [end is None for end in ends].count(True) == 10
        assert all(end is None or isinstance(end, DuplicateKey) for end in ends)
        assert await records.count(name) == 10

    @promise("expiry")
    async def test_documents_are_deleted_after_their_time(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, Schema(indexes=(Index({"at": 1}, expire_after=self.lifetime),)))
        now = datetime.fromtimestamp(self.now(), UTC)
        await records.insert(name, {"_id": 1, "at": now}, {"_id": 2, "at": "never"}, {"_id": 3})
        await self.advance_time(self.lifetime / 2)
        later = datetime.fromtimestamp(self.now() + self.expiry_patience, UTC)
        await records.insert(name, {"_id": 4, "at": later})
        assert await records.count(name) == 4
        await self.advance_time(self.lifetime / 2 + self.expiry_patience)
        await self.within(self._until(records, name, 3), "an expired document was not deleted")
        assert [each["_id"] for each in await records.find(name, sort={"_id": 1})] == [2, 3, 4]

    async def _until(self, records: RecordStore, name: str, count: int) -> None:
        while await records.count(name) != count:  # noqa: ASYNC110 - stores tell of no deletion
            await asyncio.sleep(0.01)

    @promise("text")
    async def test_text_is_found_by_its_words(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, TEXTS[0])
        await records.ensure(name, Schema(indexes=(Index({"title": 1, "body": 1, "tags": 1}, text=True),)))
        await records.insert(name, *TEXTS[1:])

        async def found(search: str, **rest: Any) -> list[Any]:
            matching = await records.find(name, {"$text": {"$search": search}, **rest}, sort={"_id": 1})
            return [each["_id"] for each in matching]

        assert await found("LAZY") == [1, 2]
        assert await found("fox table") == [1, 3]
        assert await found('"lazy dog"') == [1]
        assert await found("brown -fox") == [3]
        assert await found("quick", _id={"$gt": 1}) == [2]
        assert await found("unicorn") == []
        await records.update(name, {"_id": 1}, {"$set": {"body": "sleeps"}})
        await records.delete(name, {"_id": 2})
        assert await found("lazy") == []
        assert await found("sleeps") == [1]

    @promise("text")
    async def test_text_cannot_be_searched_without_an_index(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, TEXTS[0])
        async with self.expect(InvalidQuery, "$text"):
            await records.find(name, {"$text": {"$search": "fox"}})

    @promise("validation")
    async def test_a_document_that_does_not_fit_is_refused_however_it_comes(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, PERSON)
        await records.insert(name, {"_id": 1, "name": "ann", "age": 3})
        async with self.expect(SchemaMismatch, name, "age"):
            await records.insert(name, {"_id": 2, "name": "bob", "age": -1})
        async with self.expect(SchemaMismatch, name, "name"):
            await records.write([Put(name, {"_id": 1})])
        async with self.expect(SchemaMismatch):
            await records.write([Put(name, {"_id": 2, "name": "bob"}), Insert(name, {"_id": 3, "name": 3})])
        async with self.expect(SchemaMismatch):
            await records.write([Update(name, {"_id": 1}, {"$unset": {"name": ""}})])
        async with self.expect(SchemaMismatch):
            await records.update(name, {"_id": 4}, {"$set": {"age": 1}}, upsert=True)
        assert await records.find(name) == [{"_id": 1, "name": "ann", "age": 3}]

    @promise("validation", "reopening")
    async def test_a_schema_outlives_the_store(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.ensure(name, PERSON)
        async with self.client() as again, self.expect(SchemaMismatch):
            await again.insert(name, {"_id": 1})

    @promise("validation")
    async def test_what_is_no_schema_is_refused(self, records: RecordStore) -> None:
        name = self.new_name()
        async with self.expect(InvalidQuery, name):
            await records.ensure(name, Schema(json_schema={"type": "nonsense"}))
