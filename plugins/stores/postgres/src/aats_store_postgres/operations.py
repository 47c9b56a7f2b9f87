"""What `Records` promises, in terms of work with a session."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from aats_core.query import Clause, Context, run_pipeline
from aats_core.query.pipelines import Facet, Lookup, Pipeline
from aats_core.storage.collection import check_name
from aats_core.storage.operations import CheckedReads, CheckedRecords, Updating
from aats_core.storage.queries import Beginning, Order
from aats_core.store import Document, UpdateResult
from aats_store_postgres import changes, grouping, reading
from aats_store_postgres.catalog import Collection
from aats_store_postgres.changes import row_of
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Session

T = TypeVar("T")
Read: TypeAlias = Callable[[Session, Collection | None], Awaitable[T]]
Change: TypeAlias = Callable[[Session, Collection], Awaitable[T]]


class Reads(CheckedReads[Query]):
    """Reads of documents; a subclass says in which session they run."""

    @abstractmethod
    async def _read(self, name: str, read: Read[T]) -> T:
        """Return what is read of a collection, which there may not be."""

    async def _find(self, name: str, query: Query, order: Order, limit: int | None, skip: int) -> list[Document]:
        async def read(session: Session, known: Collection | None) -> list[Document]:
            return await reading.find(session, known, query, order=order, limit=limit, skip=skip)

        return await self._read(name, read)

    async def _count(self, name: str, query: Query) -> int:
        return await self._read(name, lambda session, known: reading.count(session, known, query))

    async def _aggregate(self, name: str, begin: Beginning[Query]) -> list[Document]:
        """Have PostgreSQL filter, sort, page, count and group where that begins the pipeline; Python does the rest."""
        first, rest = await self._read(name, lambda session, known: grouping.run(session, known, begin))
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


class Operations(Reads, CheckedRecords[Query]):
    """The same, and changes."""

    @abstractmethod
    async def _change(self, name: str, change: Change[T]) -> T:
        """Return what a change within a transaction makes; where it raises, nothing has changed."""

    async def _insert(self, name: str, documents: Sequence[Document]) -> None:
        rows = [row_of(document) for document in documents]
        await self._change(name, lambda session, known: changes.insert(session, known, rows))

    async def _update(self, name: str, updating: Updating[Query]) -> UpdateResult:
        return await self._change(name, lambda session, known: changes.update(session, known, updating))

    async def _delete(self, name: str, query: Query) -> int:
        return await self._change(name, lambda session, known: changes.delete(session, known, query))


def _nothing(_: str, __: Clause) -> list[Document]:
    return []
