"""What `Records` promises, in terms of units of work."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

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
    sorted_by,
)
from aats_core.query.filters import And
from aats_core.query.pipelines import Facet, Lookup, Match, Pipeline
from aats_core.query.values import normal
from aats_core.storage.collection import check_name
from aats_core.storage.evaluated.keys import id_key, wanted_keys
from aats_core.storage.evaluated.unit import Unit, Updating, encode_document, with_id
from aats_core.store import Delete, Document, Filter, Insert, Put, Records, Update, UpdateResult, Write

T = TypeVar("T")

ALL = And(())

_PAGE = 500
"""Documents that a sorted stream reads at a time."""


class Step(NamedTuple):
    """A change on its way: what it does, and the keys of what it looks at; None where it searches its collection."""

    name: str
    keys: Sequence[str] | None
    apply: Callable[[Unit], Awaitable[Any]]


class Operations(Records):
    """Operations on documents; a subclass says in which units of work they run."""

    def __init__(self, clock: Clock, largest: int) -> None:
        self._clock = clock
        self._largest = largest

    def _now(self) -> datetime:
        now: datetime = normal(datetime.fromtimestamp(self._clock.time(), UTC))
        return now

    @abstractmethod
    def _reading(self) -> Unit:
        """Return the unit in which to read."""

    @abstractmethod
    async def _change(self, steps: Sequence[Step]) -> list[Any]:
        """Apply all steps or none of them, and return what they return."""

    # Changes

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        """Write new documents, all or none, and return their ids."""
        check_name(collection)
        complete = [with_id(document) for document in documents]
        if complete:
            await self._change([self._inserting(collection, document) for document in complete])
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
        result: UpdateResult
        (result,) = await self._change([self._updating(collection, filter, update, upsert=upsert, limit=limit)])
        return result

    async def delete(self, collection: str, filter: Filter) -> int:
        """Delete every document that matches and return how many there were."""
        count: int
        (count,) = await self._change([self._deleting(collection, filter)])
        return count

    def _step(self, operation: Write) -> Step:
        """Return what applies an operation of a `write`; raises where it is not valid."""
        name = check_name(operation.collection)
        if isinstance(operation, Insert):
            return self._inserting(name, with_id(operation.document))
        if isinstance(operation, Put):
            document = with_id(operation.document)
            key, body = id_key(document["_id"]), encode_document(document, self._largest)
            return Step(name, (), lambda unit: unit.put(name, key, body))
        if isinstance(operation, Update):
            return self._updating(name, operation.filter, operation.update, upsert=operation.upsert)
        if isinstance(operation, Delete):
            return self._deleting(name, operation.filter)
        clause = parse_filter(operation.filter)
        return Step(name, wanted_keys(clause), lambda unit: unit.require(name, clause))

    def _inserting(self, name: str, document: Document) -> Step:
        key, body = id_key(document["_id"]), encode_document(document, self._largest)
        return Step(name, (), lambda unit: unit.insert(name, key, body))

    def _updating(
        self, name: str, filter: Filter, update: Mapping[str, Any], *, upsert: bool, limit: int | None = None
    ) -> Step:
        check_name(name)
        clause = parse_filter(filter)
        updating = Updating(clause, parse_update(update), self._now(), upsert, limit)
        return Step(name, wanted_keys(clause), lambda unit: unit.update(name, updating))

    def _deleting(self, name: str, filter: Filter) -> Step:
        check_name(name)
        clause = parse_filter(filter)
        return Step(name, wanted_keys(clause), lambda unit: unit.delete(name, clause))

    # Reads

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
        clause = parse_filter(filter) if filter else ALL
        order = parse_sort(sort, "sort") if sort else ()
        kept = parse_projection(projection) if projection else None
        _check_page(limit, skip)

        most = None if order or limit is None else skip + limit
        found = await self._found(check_name(collection), clause, most)
        page = (sorted_by(found, order) if order else found)[skip : None if limit is None else skip + limit]
        return page if kept is None else [project(document, kept) for document in page]

    async def _found(self, name: str, clause: Clause, most: int | None = None) -> list[Document]:
        """Return the documents that match, at most so many."""
        return [each.document for each in await self._reading().found(name, clause, most)]

    async def stream(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Document, None]:
        """Yield the documents that match, a few at a time, each as it is when it comes; it is no snapshot."""
        clause = parse_filter(filter) if filter else ALL
        kept = parse_projection(projection) if projection else None
        unit, name = self._reading(), check_name(collection)
        documents = _in_order(unit, name, clause, sort) if sort else _as_they_come(unit, name, clause)
        async with aclosing(documents):
            async for document in documents:
                yield document if kept is None else project(document, kept)

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""
        clause = parse_filter(filter) if filter else ALL
        return await self._reading().count(check_name(collection), clause)

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out."""
        check_name(collection)
        stages = parse_pipeline(pipeline)
        clause, rest = (stages[0].clause, stages[1:]) if stages and isinstance(stages[0], Match) else (ALL, stages)
        documents = await self._found(collection, clause)
        if not any(isinstance(stage, Lookup | Facet) for stage in rest):
            return run_pipeline(documents, rest, Context(self._now(), _nothing))
        return await self._with_others(documents, rest)

    async def _with_others(self, documents: list[Document], stages: Pipeline) -> list[Document]:
        """Run stages that ask for other collections, in a thread that waits while the event loop fetches these."""
        loop = asyncio.get_running_loop()

        def find(name: str, clause: Clause) -> list[Document]:
            return asyncio.run_coroutine_threadsafe(self._found(check_name(name), clause), loop).result()

        return await asyncio.to_thread(run_pipeline, documents, stages, Context(self._now(), find))


async def _as_they_come(unit: Unit, name: str, clause: Clause) -> AsyncGenerator[Document, None]:
    async with aclosing(unit.matching(name, clause)) as batches:
        async for batch in batches:
            for each in batch:
                yield each.document


async def _in_order(unit: Unit, name: str, clause: Clause, sort: Mapping[str, int]) -> AsyncGenerator[Document, None]:
    """Yield documents in order: of all only what they are sorted by is held, then they are read again."""
    order = parse_sort(sort, "sort")
    kept = parse_projection({**dict.fromkeys(sort, 1), "_id": 1})
    found = [project(each.document, kept) async for batch in unit.matching(name, clause) for each in batch]
    keys = [each["_id"] for each in sorted_by(found, order)]
    for start in range(0, len(keys), _PAGE):
        page = [id_key(each) for each in keys[start : start + _PAGE]]
        documents = await unit.read(name, page, clause)
        for key in page:
            if key in documents:
                yield documents[key]


def _nothing(_: str, __: Clause) -> list[Document]:
    return []


def _check_page(limit: int | None, skip: int) -> None:
    if (limit is not None and limit < 0) or skip < 0:
        raise InvalidQuery(f"limit {limit} and skip {skip} cannot be negative")
