"""What `Records` promises, in terms of units of work."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

from aats_core.clock import Clock
from aats_core.query import Clause, Context, PipelineRun, run_pipeline, sorted_by
from aats_core.query.needs import fields_of_pipeline
from aats_core.query.pipelines import Facet, Lookup, Pipeline
from aats_core.query.shape import bound
from aats_core.storage.collection import check_name
from aats_core.storage.evaluated.database import Stored
from aats_core.storage.evaluated.keys import id_key, wanted_keys
from aats_core.storage.evaluated.unit import Unit, encode_document
from aats_core.storage.operations import CheckedRecords, Updating, with_id
from aats_core.storage.queries import Beginning, Order, Queries
from aats_core.store import Delete, Document, Insert, Put, Update, UpdateResult, Write

T = TypeVar("T")


class Step(NamedTuple):
    """A change on its way: what it does, and the keys of what it looks at; None where it searches its collection."""

    name: str
    keys: Sequence[str] | None
    apply: Callable[[Unit], Awaitable[Any]]


class Operations(CheckedRecords[Clause]):
    """Operations on documents; a subclass says in which units of work they run."""

    def __init__(self, clock: Clock, largest: int) -> None:
        super().__init__(Queries(lambda clause: clause, bound), clock)
        self._largest = largest

    @abstractmethod
    def _reading(self) -> Unit:
        """Return the unit in which to read."""

    @abstractmethod
    async def _change(self, steps: Sequence[Step]) -> list[Any]:
        """Apply all steps or none of them, and return what they return."""

    # Changes

    async def _insert(self, name: str, documents: Sequence[Document]) -> None:
        await self._change([self._inserting(name, documents)])

    async def _update(self, name: str, updating: Updating[Clause]) -> UpdateResult:
        result: UpdateResult
        (result,) = await self._change([_updating(name, updating)])
        return result

    async def _delete(self, name: str, query: Clause) -> int:
        count: int
        (count,) = await self._change([_deleting(name, query)])
        return count

    def _step(self, operation: Write) -> Step:
        """Return what applies an operation of a `write`; raises where it is not valid."""
        name = check_name(operation.collection)
        if isinstance(operation, Insert):
            return self._inserting(name, [with_id(operation.document)])
        if isinstance(operation, Put):
            key, body = self._encoded(with_id(operation.document))
            return Step(name, (), lambda unit: unit.put(name, key, body))
        if isinstance(operation, Update):
            return _updating(name, self._updating(operation.filter, operation.update, upsert=operation.upsert))
        query = self._queries.query(operation.filter)
        if isinstance(operation, Delete):
            return _deleting(name, query)
        return Step(name, wanted_keys(query), lambda unit: unit.require(name, query))

    def _inserting(self, name: str, documents: Sequence[Document]) -> Step:
        encoded = [self._encoded(document) for document in documents]
        return Step(name, (), lambda unit: unit.insert(name, encoded))

    def _encoded(self, document: Document) -> Stored:
        return id_key(document["_id"]), encode_document(document, self._largest)

    # Reads

    async def _find(self, name: str, query: Clause, order: Order, limit: int | None, skip: int) -> list[Document]:
        end = None if limit is None else skip + limit
        found = await self._reading().found(name, query, None if order else end)
        documents = [document for _, document, _ in found]
        return (sorted_by(documents, order) if order else documents)[skip:end]

    async def _count(self, name: str, query: Clause) -> int:
        return await self._reading().count(name, query)

    async def _aggregate(self, name: str, begin: Beginning[Clause]) -> list[Document]:
        if any(isinstance(stage, Lookup | Facet) for stage in begin.rest):
            return await self._with_others(await self._beginning(name, begin), begin.rest)
        run = PipelineRun(begin.rest, Context(self._now(), _nothing))
        if begin.order or begin.skip or begin.limit is not None:
            run.add(await self._beginning(name, begin))
        else:
            fields = fields_of_pipeline(begin.query, begin.rest)
            async with aclosing(self._reading().documents(name, begin.query, fields)) as batches:
                async for batch in batches:
                    run.add(batch)
        return run.finish()

    async def _beginning(self, name: str, begin: Beginning[Clause]) -> list[Document]:
        return await self._find(name, begin.query, begin.order, begin.limit, begin.skip)

    async def _with_others(self, documents: list[Document], stages: Pipeline) -> list[Document]:
        """Run stages that ask for other collections, in a thread that waits while the event loop fetches these."""
        loop = asyncio.get_running_loop()

        def find(name: str, clause: Clause) -> list[Document]:
            reading = self._find(check_name(name), clause, (), None, 0)
            return asyncio.run_coroutine_threadsafe(reading, loop).result()

        return await asyncio.to_thread(run_pipeline, documents, stages, Context(self._now(), find))


def _updating(name: str, updating: Updating[Clause]) -> Step:
    return Step(name, wanted_keys(updating.query), lambda unit: unit.update(name, updating))


def _deleting(name: str, query: Clause) -> Step:
    return Step(name, wanted_keys(query), lambda unit: unit.delete(name, query))


def _nothing(_: str, __: Clause) -> list[Document]:
    return []
