"""`insert`, `find`, `update`, `delete`, `count` and `aggregate` on their own."""

from __future__ import annotations

from typing import Any

from aats_core.errors import DuplicateKey, InvalidDocument, InvalidQuery
from aats_core.query.values import MAX_INT, identical, normal
from aats_core.store import Put, RecordStore, UpdateResult
from aats_core.testing.stores_harness import StoreHarness, promise
from aats_core.testing.stores_samples import PEOPLE, VALUES


class ReadPromises(StoreHarness[RecordStore]):
    """Operations on documents, one at a time."""

    async def _people(self, records: RecordStore) -> str:
        name = self.new_name()
        await records.insert(name, *PEOPLE)
        return name

    # insert

    @promise()
    async def test_an_insert_returns_the_ids_in_order_and_makes_up_missing_ones(self, records: RecordStore) -> None:
        name = self.new_name()
        first, made, last, other = await records.insert(name, {"_id": "a"}, {"n": 1}, {"_id": 3}, {"n": 2})
        assert (first, last) == ("a", 3)
        assert made not in (None, other)
        assert await records.find(name, {"_id": made}) == [{"_id": made, "n": 1}]

    @promise()
    async def test_an_insert_leaves_the_callers_documents_alone(self, records: RecordStore) -> None:
        document: dict[str, Any] = {"a": {"b": [1]}}
        await records.insert(self.new_name(), document)
        assert document == {"a": {"b": [1]}}

    @promise()
    async def test_an_insert_writes_all_or_none(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 2})
        async with self.expect(DuplicateKey, name):
            await records.insert(name, *({"_id": each} for each in range(5)))
        async with self.expect(DuplicateKey, name):
            await records.insert(name, {"_id": "twice"}, {"_id": "twice"})
        assert await records.find(name) == [{"_id": 2}]

    @promise()
    async def test_many_documents_are_inserted_at_once(self, records: RecordStore) -> None:
        name = self.new_name()
        assert await records.insert(name, *({"_id": each} for each in range(1000))) == list(range(1000))
        assert await records.count(name) == 1000
        assert await records.insert(name) == []

    @promise()
    async def test_values_of_every_type_come_back_as_they_were(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, *({"_id": number, "v": value, "l": [value]} for number, value in enumerate(VALUES)))
        found = await records.find(name, sort={"_id": 1})
        for document, value in zip(found, VALUES, strict=True):
            stored = normal(value)
            assert identical(document["v"], stored), f"{value!r} came back as {document['v']!r}"
            assert identical(document["l"], [stored]), f"{[value]!r} came back as {document['l']!r}"

    @promise()
    async def test_equal_numbers_are_one_id_and_true_is_none(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1})
        async with self.expect(DuplicateKey):
            await records.insert(name, {"_id": 1.0})
        await records.insert(name, {"_id": True}, {"_id": "1"})
        assert await records.find(name, {"_id": 1}) == [{"_id": 1}]
        assert await records.count(name) == 3

    @promise()
    async def test_a_document_that_cannot_be_kept_is_refused_with_the_place(self, records: RecordStore) -> None:
        name = self.new_name()
        refused: list[Any] = [{"a": {"b": {1, 2}}}, {"a": {"b": object()}}, {"a": {1: 2}}]
        for document in refused:
            async with self.expect(InvalidDocument, "a"):
                await records.insert(name, document)
            async with self.expect(InvalidDocument, "a"):
                await records.write([Put(name, {"_id": 1, **document})])
        assert await records.count(name) == 0

    @promise("int64")
    async def test_an_integer_beyond_64_bits_is_refused(self, records: RecordStore) -> None:
        name = self.new_name()
        async with self.expect(InvalidDocument, "a.0", "64"):
            await records.insert(name, {"a": [MAX_INT + 1]})

    # find and count

    @promise()
    async def test_a_collection_that_nobody_wrote_is_empty(self, records: RecordStore) -> None:
        name = self.new_name()
        assert await records.find(name) == []
        assert await records.count(name) == 0
        assert await records.delete(name, {}) == 0
        assert await records.aggregate(name, [{"$match": {}}]) == []
        assert await records.update(name, {}, {"$set": {"a": 1}}) == UpdateResult(0, 0)

    @promise()
    async def test_find_and_count_go_by_the_filter(self, records: RecordStore) -> None:
        name = await self._people(records)
        young = {"age": {"$lt": 40}, "tags": "b"}
        assert [each["_id"] for each in await records.find(name, young, sort={"_id": 1})] == ["ann", "dora"]
        assert await records.count(name, young) == 2
        assert await records.count(name) == len(PEOPLE)
        assert await records.count(name, None) == len(PEOPLE)

    @promise()
    async def test_an_array_within_an_array_is_an_object_of_its_indexes_to_elem_match(
        self, records: RecordStore
    ) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1, "a": [[]]}, {"_id": 2, "a": [[{"b": 1}]]}, {"_id": 3, "a": [{"b": 1}]})

        async def found(condition: dict[str, Any]) -> list[Any]:
            return [each["_id"] for each in await records.find(name, {"a": {"$elemMatch": condition}}, sort={"_id": 1})]

        assert await found({"b": None}) == [1, 2]
        assert await found({"b.b": {"$in": [None]}}) == [1, 2, 3]
        assert await found({"b": 1}) == [3]
        assert await found({"0.b": 1}) == [2]

    @promise()
    async def test_find_sorts_skips_and_limits(self, records: RecordStore) -> None:
        name = await self._people(records)

        async def ids(**options: Any) -> list[str]:
            return [each["_id"] for each in await records.find(name, **options)]

        assert await ids(sort={"age": 1, "_id": -1}) == ["eve", "dora", "ann", "carl", "bob"]
        assert await ids(sort={"age": -1, "_id": 1}) == ["bob", "carl", "ann", "dora", "eve"]
        assert await ids(sort={"_id": 1}, skip=1, limit=2) == ["bob", "carl"]
        assert await ids(sort={"_id": 1}, skip=4) == ["eve"]
        assert await ids(sort={"_id": 1}, skip=9) == []

    @promise()
    async def test_find_keeps_the_fields_of_the_projection(self, records: RecordStore) -> None:
        name = await self._people(records)

        async def ann(projection: dict[str, Any]) -> Any:
            return (await records.find(name, {"_id": "ann"}, projection=projection))[0]

        assert await ann({"age": 1}) == {"_id": "ann", "age": 31}
        assert await ann({"age": 1, "_id": 0}) == {"age": 31}
        assert await ann({"home.city": 1}) == {"_id": "ann", "home": {"city": "Bern"}}
        assert await ann({"tags": 0, "home.zip": 0}) == {"_id": "ann", "age": 31, "home": {"city": "Bern"}}
        assert await ann({"_id": 0}) == {"age": 31, "tags": ["a", "b"], "home": {"city": "Bern", "zip": 3000}}

    @promise()
    async def test_what_find_returns_is_the_callers_own(self, records: RecordStore) -> None:
        name = await self._people(records)
        (ann,) = await records.find(name, {"_id": "ann"})
        ann["tags"].append("changed")
        assert (await records.find(name, {"_id": "ann"}))[0]["tags"] == ["a", "b"]

    @promise()
    async def test_what_is_no_query_is_refused_and_named(self, records: RecordStore) -> None:
        name = await self._people(records)
        filters: list[tuple[Any, str]] = [
            ({"age": {"$near": 1}}, "$near"),
            ({"$where": "1"}, "$where"),
            ({"$or": [{"a": {"$in": 5}}]}, "$or.0.a.$in"),
        ]
        for wrong, place in filters:
            for operation in (records.find, records.count, records.delete):
                async with self.expect(InvalidQuery, place):
                    await operation(name, wrong)
            async with self.expect(InvalidQuery, place):
                await records.update(name, wrong, {"$set": {"a": 1}})
        async with self.expect(InvalidQuery, "$explode"):
            await records.update(name, {}, {"$explode": {"a": 1}})
        async with self.expect(InvalidQuery, "$out"):
            await records.aggregate(name, [{"$match": {}}, {"$out": "x"}])
        async with self.expect(InvalidQuery, "age"):
            await records.find(name, sort={"age": 2})
        async with self.expect(InvalidQuery, "projection"):
            await records.find(name, projection={"a": 1, "b": 0})
        assert await records.count(name) == len(PEOPLE)

    @promise()
    async def test_a_read_that_was_refused_keeps_no_later_one_from_what_is_new(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1, "a": [1], "b": [1]}, {"_id": 2})
        refused: list[InvalidQuery] = []
        for _ in range(20):
            try:
                await records.find(name, sort={"a": 1, "b": 1})
            except InvalidQuery as error:
                refused.append(error)
        assert len(refused) == 20, "arrays at two paths give no order"
        await records.insert(name, {"_id": 3})
        for _ in range(20):
            assert await records.count(name) == 3

    @promise()
    async def test_names_and_values_are_never_code(self, records: RecordStore) -> None:
        name = self.new_name()
        nasty = "x'\"`;--) OR 1=1 /* ${a} \\ %s"
        await records.insert(name, {"_id": nasty, nasty: nasty, "a": {nasty: [nasty]}}, {"_id": 2})
        for each in ({"_id": nasty}, {nasty: nasty}, {f"a.{nasty}": nasty}, {nasty: {"$in": [nasty]}}):
            assert [found["_id"] for found in await records.find(name, each)] == [nasty]
        assert (await records.find(name, sort={nasty: -1}, limit=1))[0]["_id"] == nasty
        await records.update(name, {nasty: nasty}, {"$set": {nasty: 1}})
        assert await records.count(name, {nasty: 1}) == 1
        async with self.expect(InvalidQuery):
            await records.find("x; DROP TABLE y", {})

    # update and delete

    @promise()
    async def test_an_update_counts_what_matched_and_what_changed(self, records: RecordStore) -> None:
        name = await self._people(records)
        assert await records.update(name, {"age": {"$gte": 40}}, {"$max": {"age": 50}}) == UpdateResult(2, 1)
        assert await records.update(name, {"_id": "nobody"}, {"$set": {"a": 1}}) == UpdateResult(0, 0)
        assert {each["age"] for each in await records.find(name, {"age": {"$gte": 40}})} == {50, 55}

    @promise()
    async def test_writing_what_was_there_counts_as_a_change_where_it_does_in_mongodb(
        self, records: RecordStore
    ) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1, "a": [None], "b": [1, 2], "c": []})
        updates: list[tuple[dict[str, Any], int]] = [
            ({"$set": {"a.0": None}}, 0),
            ({"$unset": {"a.0": ""}}, 1),
            ({"$unset": {"a.1": "", "d": ""}}, 0),
            ({"$push": {"b": {"$each": [], "$slice": 5}}}, 0),
            ({"$push": {"b": {"$each": [], "$sort": 1}}}, 1),
            ({"$push": {"c": {"$each": [], "$sort": 1}}}, 0),
            ({"$push": {"b": {"$each": [3], "$slice": 2}}}, 1),
        ]
        for update, modified in updates:
            assert await records.update(name, {}, update) == UpdateResult(1, modified), update
        assert await records.find(name) == [{"_id": 1, "a": [None], "b": [1, 2], "c": []}]

    @promise()
    async def test_an_update_can_be_limited_to_one(self, records: RecordStore) -> None:
        name = await self._people(records)
        assert await records.update(name, {}, {"$set": {"seen": True}}, limit=1) == UpdateResult(1, 1)
        assert await records.count(name, {"seen": True}) == 1

    @promise()
    async def test_an_upsert_makes_a_document_of_equalities_and_update(self, records: RecordStore) -> None:
        name = self.new_name()
        made = await records.update(
            name,
            {"a": 1, "b.c": {"$eq": 2}, "d": {"$gt": 3}},
            {"$inc": {"n": 1}, "$setOnInsert": {"new": True}},
            upsert=True,
        )
        assert (made.matched, made.modified) == (0, 0)
        (document,) = await records.find(name)
        assert document == {"_id": made.upserted_id, "a": 1, "b": {"c": 2}, "n": 1, "new": True}
        again = await records.update(name, {"a": 1}, {"$inc": {"n": 1}, "$setOnInsert": {"new": False}}, upsert=True)
        assert again == UpdateResult(1, 1)
        assert (await records.find(name))[0]["n"] == 2
        by_id = await records.update(name, {"_id": "x"}, {"$set": {"a": 2}}, upsert=True)
        assert by_id == UpdateResult(0, 0, "x")

    @promise()
    async def test_an_upsert_that_could_make_no_document_may_find_one(self, records: RecordStore) -> None:
        name = self.new_name()
        null_and_object = ({"a": None}, {"$set": {"a.b": 1}})
        async with self.expect(InvalidQuery):
            await records.update(name, *null_and_object, upsert=True)
        await records.insert(name, {"_id": 1})
        assert await records.update(name, *null_and_object, upsert=True) == UpdateResult(1, 1)
        assert await records.find(name) == [{"_id": 1, "a": {"b": 1}}]

    @promise()
    async def test_an_update_that_cannot_be_applied_changes_nothing(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1, "a": 1}, {"_id": 2, "a": "text"}, {"_id": 3, "a": 3})
        async with self.expect(InvalidQuery, "a"):
            await records.update(name, {}, {"$inc": {"a": 1}})
        assert [each["a"] for each in await records.find(name, sort={"_id": 1})] == [1, "text", 3]

    @promise()
    async def test_the_id_of_a_document_does_not_change(self, records: RecordStore) -> None:
        name = self.new_name()
        await records.insert(name, {"_id": 1})
        async with self.expect(InvalidQuery, "_id"):
            await records.update(name, {}, {"$set": {"_id": 2}})
        assert await records.find(name) == [{"_id": 1}]

    @promise()
    async def test_a_delete_returns_how_many_there_were(self, records: RecordStore) -> None:
        name = await self._people(records)
        assert await records.delete(name, {"age": {"$lt": 40}}) == 3
        assert await records.delete(name, {"age": {"$lt": 40}}) == 0
        assert await records.delete(name, {}) == 2
        assert await records.find(name) == []

    # aggregate

    @promise()
    async def test_a_pipeline_filters_groups_sorts_and_counts(self, records: RecordStore) -> None:
        name = await self._people(records)
        by_tag: list[Any] = [
            {"$match": {"age": {"$lt": 50}}},
            {"$unwind": "$tags"},
            {"$group": {"_id": "$tags", "n": {"$sum": 1}, "oldest": {"$max": "$age"}, "mean": {"$avg": "$age"}}},
            {"$sort": {"n": -1, "_id": 1}},
            {"$limit": 2},
        ]
        assert await records.aggregate(name, by_tag) == [
            {"_id": "b", "n": 3, "oldest": 45, "mean": 35.0},
            {"_id": "a", "n": 1, "oldest": 31, "mean": 31.0},
        ]
        assert await records.aggregate(name, [{"$match": {"age": {"$lt": 40}}}, {"$count": "n"}]) == [{"n": 3}]
        assert await records.aggregate(name, [{"$match": {"age": 99}}, {"$count": "n"}]) == []

    @promise()
    async def test_a_pipeline_computes_fields(self, records: RecordStore) -> None:
        name = await self._people(records)
        stages: list[Any] = [
            {"$sort": {"_id": 1}},
            {"$skip": 1},
            {"$limit": 1},
            {"$addFields": {"double": {"$multiply": ["$age", 2]}}},
            {"$project": {"_id": 0, "double": 1, "where": "$home.city", "old": {"$gte": ["$age", 50]}}},
        ]
        assert await records.aggregate(name, stages) == [{"double": 110, "where": "Rome", "old": True}]

    @promise()
    async def test_a_pipeline_looks_up_another_collection(self, records: RecordStore) -> None:
        name, cities = await self._people(records), self.new_name()
        await records.insert(cities, {"_id": "Bern", "country": "CH"}, {"_id": "Rome", "country": "IT"})
        lookup = {"from": cities, "localField": "home.city", "foreignField": "_id", "as": "city"}
        stages: list[Any] = [{"$match": {"_id": {"$in": ["ann", "eve"]}}}, {"$sort": {"_id": 1}}, {"$lookup": lookup}]
        found = await records.aggregate(name, [*stages, {"$project": {"city": 1}}])
        assert found == [{"_id": "ann", "city": [{"_id": "Bern", "country": "CH"}]}, {"_id": "eve", "city": []}]
