"""Generated documents and queries, whose answers are held against the evaluator of `aats_core.query`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import InvalidQuery
from aats_core.query import matcher, parse_filter, parse_sort, parse_update, sorted_by, updated, upserted
from aats_core.query.values import identical, normal
from aats_core.store import Document, Index, RecordStore, Schema
from aats_core.testing import strategies
from aats_core.testing.stores_harness import StoreHarness

INDEXED = ("a", "b", "a.b", "a.0")


class QueryPromises(StoreHarness[RecordStore]):
    """Filters, updates and orders mean what they mean in MongoDB."""

    def _try(
        self, work: Callable[[RecordStore, str, Any], Awaitable[None]], cases: st.SearchStrategy[Any], *fields: str
    ) -> None:
        """Try generated cases on one collection, which has an index over each of the fields and is emptied before."""
        store, name = self.make_store(), self.new_name()

        async def begin() -> RecordStore:
            await store.connect()
            records = self.offered(store)
            await records.ensure(name, Schema(indexes=tuple(Index({field: 1}) for field in fields)))
            return records

        async def once(records: RecordStore, case: Any) -> None:
            await records.delete(name, {})
            await work(records, name, case)

        with asyncio.Runner() as runner:
            records = runner.run(begin())
            try:
                self.for_examples()(given(cases)(lambda case: runner.run(once(records, case))))()
            finally:
                runner.run(store.close())

    def test_a_filter_finds_what_it_means(self) -> None:
        self._try(self._filter, _collections_and(strategies.filters()))

    def test_an_index_changes_no_answer(self) -> None:
        self._try(self._filter, _collections_and(strategies.filters()), *INDEXED)

    async def _filter(self, records: RecordStore, name: str, case: tuple[list[Document], list[Any]]) -> None:
        documents, filters = case
        await records.insert(name, *documents)
        for each in filters:
            matches = matcher(parse_filter(each))
            wanted = [document["_id"] for document in documents if matches(normal(document))]
            found = [document["_id"] for document in await records.find(name, each)]
            assert sorted(found) == wanted, f"{each} finds {sorted(found)} of {documents}, not {wanted}"
            assert await records.count(name, each) == len(wanted)

    def test_documents_come_in_the_order_that_is_asked_for(self) -> None:
        self._try(self._sort, _collections_and(strategies.sorts()))

    def test_an_index_changes_no_order(self) -> None:
        self._try(self._sort, _collections_and(strategies.sorts()), *INDEXED)

    async def _sort(self, records: RecordStore, name: str, case: tuple[list[Document], list[Any]]) -> None:
        documents, sorts = case
        await records.insert(name, *documents)
        for sort in sorts:
            if _sorts_by_parallel_arrays(documents, sort):
                continue
            order = {**sort, "_id": 1}
            wanted = [each["_id"] for each in sorted_by(map(normal, documents), parse_sort(order, "sort"))]
            found = [each["_id"] for each in await records.find(name, sort=order)]
            assert found == wanted, f"{order} of {documents} is {found}, not {wanted}"

    def test_an_update_does_what_it_means(self) -> None:
        self._try(self._update, st.tuples(strategies.documents(), strategies.updates()))

    async def _update(self, records: RecordStore, name: str, case: tuple[Document, Any]) -> None:
        document, update = {"_id": 0, **case[0]}, case[1]
        await records.insert(name, document)
        wanted: Document | None = None
        try:
            wanted = updated(normal(document), parse_update(update), datetime.now(UTC))
            await records.update(name, {"_id": 0}, update)
        except InvalidQuery:
            async with self.expect(InvalidQuery):
                await records.update(name, {"_id": 0}, update)
            assert wanted is None, f"{update} could not be applied to {document}"
        (found,) = await records.find(name)
        wanted = normal(document) if wanted is None else wanted
        assert identical(found, wanted), f"{update} makes {found} of {document}, not {wanted}"

    def test_an_upsert_makes_what_it_means(self) -> None:
        self._try(self._upsert, st.tuples(strategies.filters(), strategies.updates()))

    async def _upsert(self, records: RecordStore, name: str, case: tuple[Any, Any]) -> None:
        wanting, update = case
        try:
            wanted = upserted(parse_filter(wanting), parse_update(update), datetime.now(UTC))
        except InvalidQuery:
            async with self.expect(InvalidQuery):
                await records.update(name, wanting, update, upsert=True)
            assert await records.find(name) == []
            return
        made = await records.update(name, wanting, update, upsert=True)
        (found,) = await records.find(name)
        assert identical(found, {"_id": made.upserted_id, **wanted}) or identical(
            found, {**wanted, "_id": made.upserted_id}
        ), f"{wanting} and {update} make {found}, not {wanted}"


def _collections_and(queries: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[list[Document], list[Any]]]:
    """Small collections and some queries over each."""
    documents = st.lists(strategies.documents(), min_size=1, max_size=4)
    numbered = documents.map(lambda each: [{"_id": number, **document} for number, document in enumerate(each)])
    return st.tuples(numbered, st.lists(queries, min_size=1, max_size=4))


def _sorts_by_parallel_arrays(documents: list[Document], sort: Mapping[str, int]) -> bool:
    """Tell whether a document has arrays at two of the paths, by which no database can sort."""
    paths = [tuple(path.split(".")) for path in sort]
    return any(sum(_meets_array(document, path) for path in paths) > 1 for document in documents)


def _meets_array(node: Any, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(node, dict):
            break
        node = node.get(part)
    return isinstance(node, list)
