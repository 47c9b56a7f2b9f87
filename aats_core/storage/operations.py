"""What all stores do with what callers ask of `Records`: check it, make queries of it, complete what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from aats_core.clock import Clock
from aats_core.errors import InvalidDocument, InvalidQuery
from aats_core.message import new_id
from aats_core.query import Changes, Clause, parse_filter, parse_projection, parse_sort, parse_update, project
from aats_core.query.values import normal
from aats_core.storage.collection import check_name
from aats_core.storage.queries import Beginning, Order, Queries
from aats_core.store import Document, Filter, Records, RecordStore, UpdateResult

Q = TypeVar("Q")


class Updating(msgspec.Struct, Generic[Q], frozen=True):
    """An update on its way: which documents, what becomes of them, and with `upsert` the filter that a new one fits."""

    query: Q
    changes: Changes
    now: datetime
    upsert: Clause | None = None
    limit: int | None = None


class CheckedReads(ABC, Generic[Q]):
    """The operations of `Records` that change nothing, of which a subclass does what only it can."""

    def __init__(self, queries: Queries[Q], clock: Clock) -> None:
        self._queries = queries
        self._clock = clock

    @abstractmethod
    async def _find(self, name: str, query: Q, order: Order, limit: int | None, skip: int) -> list[Document]:
        """Return the documents that match, in that order."""

    @abstractmethod
    async def _count(self, name: str, query: Q) -> int:
        """Return how many documents match."""

    @abstractmethod
    async def _aggregate(self, name: str, begin: Beginning[Q]) -> list[Document]:
        """Return what comes out of a pipeline."""

    async def find(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, int] | None = None,
        limit: int | None = None,
        skip: int = 0,
    ) -> list[Document]:
        """Return the documents that match, in the order of `sort`."""
        query = self._queries.query(filter)
        order = parse_sort(sort, "sort") if sort else ()
        kept = parse_projection(projection) if projection else None
        _check_page(limit, skip)
        found = await self._find(check_name(collection), query, order, limit, skip)
        return found if kept is None else [project(document, kept) for document in found]

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""
        return await self._count(check_name(collection), self._queries.query(filter))

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out."""
        return await self._aggregate(check_name(collection), self._queries.begin(pipeline))

    def _now(self) -> datetime:
        """Return the time in UTC, to the millisecond."""
        now: datetime = normal(datetime.fromtimestamp(self._clock.time(), UTC))
        return now


class CheckedRecords(CheckedReads[Q], Records):
    """Operations on documents, of which a subclass does what only it can, given checked names and queries."""

    @abstractmethod
    async def _insert(self, name: str, documents: Sequence[Document]) -> None:
        """Write new documents, each with an `_id`; all or none."""

    @abstractmethod
    async def _update(self, name: str, updating: Updating[Q]) -> UpdateResult:
        """Change documents, or make one."""

    @abstractmethod
    async def _delete(self, name: str, query: Q) -> int:
        """Delete the documents that match and return how many there were."""

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        """Write new documents, all or none, and return their ids."""
        check_name(collection)
        complete = [with_id(document) for document in documents]
        if complete:
            await self._insert(collection, complete)
        return [document["_id"] for document in complete]

    async def update(
        self,
        collection: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        upsert: bool = False,
        limit: int | None = None,
    ) -> UpdateResult:
        """Change every document that matches."""
        _check_page(limit, 0)
        return await self._update(check_name(collection), self._updating(filter, update, upsert=upsert, limit=limit))

    def _updating(
        self, filter: Filter, update: Mapping[str, Any], *, upsert: bool, limit: int | None = None
    ) -> Updating[Q]:
        made = parse_filter(filter) if upsert else None
        return Updating(self._queries.query(filter), parse_update(update), self._now(), made, limit)

    async def delete(self, collection: str, filter: Filter) -> int:
        """Delete every document that matches and return how many there were."""
        return await self._delete(check_name(collection), self._queries.query(filter))


class CheckedStream(CheckedReads[Q]):
    """Reads outside of transactions, where results can be streamed too."""

    @abstractmethod
    def _stream(self, name: str, query: Q, order: Order) -> AsyncGenerator[Document, None]:
        """Yield the documents that match, in that order."""

    async def stream(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Document, None]:
        """Yield the documents that match a few hundred at a time."""
        query, order = self._queries.query(filter), parse_sort(sort or {}, "sort")
        kept = parse_projection(projection) if projection else None
        async with aclosing(self._stream(check_name(collection), query, order)) as found:
            async for document in found:
                yield document if kept is None else project(document, kept)


class CheckedRecordStore(CheckedRecords[Q], CheckedStream[Q], RecordStore):
    """The same outside of transactions."""


def with_id(document: Document) -> Document:
    """Return a document with an `_id`, a new one in front where it has none; raises `InvalidDocument` if it is none."""
    if document.__class__ is not dict and not isinstance(document, Mapping):
        raise InvalidDocument(f"a document is a mapping, not a {type(document).__name__}; pass documents one by one")
    return document if "_id" in document else {"_id": new_id(), **document}


def _check_page(limit: int | None, skip: int) -> None:
    if (limit is not None and limit < 0) or skip < 0:
        raise InvalidQuery(f"limit {limit} and skip {skip} cannot be negative")
