"""What `Records` promises, in terms of work with a session."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from aats_core.clock import Clock
from aats_core.errors import InvalidQuery
from aats_core.query import (
    Clause,
    Context,
    parse_filter,
    parse_pipeline,
    parse_projection,
    parse_sort,
    parse_update,
    project,
    run_pipeline,
)
from aats_core.query.pipelines import Facet, Lookup, Pipeline
from aats_core.query.values import normal
from aats_core.storage.collection import check_name
from aats_core.store import Document, Filter, Records, UpdateResult
from aats_store_postgres import changes, grouping, reading
from aats_store_postgres.catalog import Collection
from aats_store_postgres.changes import Row, Updating, row_of, with_id
from aats_store_postgres.queries import Queries, Query
from aats_store_postgres.reading import Order
from aats_store_postgres.session import Session

T = TypeVar("T")
Read: TypeAlias = Callable[[Session, Collection | None], Awaitable[T]]
Change: TypeAlias = Callable[[Session, Collection], Awaitable[T]]


class Operations(Records):
    """Operations on documents; a subclass says in which session they run."""

    def __init__(self, queries: Queries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock

    def _now(self) -> datetime:
        now: datetime = normal(datetime.fromtimestamp(self._clock.time(), UTC))
        return now

    @abstractmethod
    async def _read(self, name: str, read: Read[T]) -> T:
        """Return what is read of a collection, which there may not be."""

    @abstractmethod
    async def _change(self, name: str, change: Change[T]) -> T:
        """Return what a change within a transaction makes; where it raises, nothing has changed."""

    @abstractmethod
    async def _insert(self, name: str, rows: Sequence[Row]) -> None:
        """Write new documents, all or none."""

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        """Write new documents, all or none, and return their ids."""
        check_name(collection)
        complete = [with_id(document) for document in documents]
        rows = [row_of(document) for document in complete]
        if rows:
            await self._insert(collection, rows)
        return [document["_id"] for document in complete]

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

    async def _find(self, name: str, query: Query, order: Order, limit: int | None, skip: int) -> list[Document]:
        """Return the documents that match, in that order."""

        async def read(session: Session, known: Collection | None) -> list[Document]:
            return await reading.find(session, known, query, order=order, limit=limit, skip=skip)

        return await self._read(name, read)

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
        updating = self._updating(filter, update, upsert=upsert, limit=limit)
        return await self._change(
            check_name(collection), lambda session, known: changes.update(session, known, updating)
        )

    def _updating(
        self, filter: Filter, update: Mapping[str, Any], *, upsert: bool, limit: int | None = None
    ) -> Updating:
        made = parse_filter(filter) if upsert else None
        return Updating(self._queries.query(filter), parse_update(update), self._now(), made, limit)

    async def delete(self, collection: str, filter: Filter) -> int:
        """Delete every document that matches and return how many there were."""
        query = self._queries.query(filter)
        return await self._change(check_name(collection), lambda session, known: changes.delete(session, known, query))

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""
        query = self._queries.query(filter)
        return await self._read(check_name(collection), lambda session, known: reading.count(session, known, query))

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out.

        PostgreSQL filters, sorts, pages, counts and groups where that begins the pipeline; Python does the rest.
        """
        stages = parse_pipeline(pipeline)
        plan = grouping.plan(stages, self._queries)
        first, rest = await self._read(check_name(collection), plan.run)
        if not any(isinstance(stage, Lookup | Facet) for stage in rest):
            return run_pipeline(first, rest, Context(self._now(), _nothing))
        return await self._with_others(first, rest)

    async def _with_others(self, documents: list[Document], stages: Pipeline) -> list[Document]:
        """Run stages that ask for other collections, in a thread that waits while the event loop fetches these."""
        loop = asyncio.get_running_loop()

        async def fetch(name: str, clause: Clause) -> list[Document]:
            query = self._queries.of_clause(clause)
            return await self._read(check_name(name), lambda session, known: reading.find(session, known, query))

        def find(name: str, clause: Clause) -> list[Document]:
            return asyncio.run_coroutine_threadsafe(fetch(name, clause), loop).result()

        return await asyncio.to_thread(run_pipeline, documents, stages, Context(self._now(), find))


def _nothing(_: str, __: Clause) -> list[Document]:
    return []


def _check_page(limit: int | None, skip: int) -> None:
    if (limit is not None and limit < 0) or skip < 0:
        raise InvalidQuery(f"limit {limit} and skip {skip} cannot be negative")
