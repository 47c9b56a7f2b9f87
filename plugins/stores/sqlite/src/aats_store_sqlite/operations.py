"""What `Records` promises, in terms of reading from a snapshot and changing in the writer's thread."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

import apsw

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
)
from aats_core.query.pipelines import Match
from aats_core.query.values import normal
from aats_core.storage.collection import check_name
from aats_core.store import Document, Filter, Records, UpdateResult
from aats_store_sqlite import reading
from aats_store_sqlite.catalog import Collection
from aats_store_sqlite.codec import encode
from aats_store_sqlite.identity import id_key
from aats_store_sqlite.queries import Queries
from aats_store_sqlite.session import Step, Updating, with_id

T = TypeVar("T")
Others: TypeAlias = Callable[[str], Collection | None]
Read: TypeAlias = Callable[[apsw.Connection, Collection | None, Others], T]


class Operations(Records):
    """Operations on documents; a subclass says where they run."""

    def __init__(self, queries: Queries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock

    def _now(self) -> datetime:
        now: datetime = normal(datetime.fromtimestamp(self._clock.time(), UTC))
        return now

    @abstractmethod
    async def _read(self, name: str, read: Read[T]) -> T:
        """Return what a function reads from one snapshot."""

    @abstractmethod
    async def _change(self, step: Step) -> Any:
        """Return what a step in the writer's thread returns; where it raises, it has changed nothing."""

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        """Write new documents, all or none, and return their ids."""
        check_name(collection)
        complete = [with_id(document) for document in documents]
        rows = [part for document in complete for part in (id_key(document["_id"]), encode(document))]
        if rows:
            await self._change(lambda session: session.insert(collection, rows))
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
        query, order = self._queries.query(filter), parse_sort(sort or {}, "sort")
        kept = parse_projection(projection) if projection else None
        _check_page(limit, skip)

        def read(connection: apsw.Connection, known: Collection | None, _: Others) -> list[Document]:
            found = reading.find(connection, known, query, order=order, limit=limit, skip=skip)
            return found if kept is None else [project(document, kept) for document in found]

        return await self._read(check_name(collection), read)

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
        check_name(collection)
        _check_page(limit, 0)
        updating = updating_of(self._queries, filter, update, upsert=upsert, limit=limit)
        result: UpdateResult = await self._change(lambda session: session.update(collection, updating))
        return result

    async def delete(self, collection: str, filter: Filter) -> int:
        """Delete every document that matches and return how many there were."""
        check_name(collection)
        query = self._queries.query(filter)
        number: int = await self._change(lambda session: session.delete(collection, query))
        return number

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out."""
        stages = parse_pipeline(pipeline)
        first = stages[0] if stages else None
        query = self._queries.of_clause(first.clause) if isinstance(first, Match) else self._queries.query(None)
        rest = stages[1:] if isinstance(first, Match) else stages

        def read(connection: apsw.Connection, known: Collection | None, others: Others) -> list[Document]:
            def look_up(name: str, clause: Clause) -> list[Document]:
                return reading.find(connection, others(name), self._queries.of_clause(clause))

            return reading.aggregate(connection, known, query, rest, Context(self._now(), look_up))

        return await self._read(check_name(collection), read)

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""
        query = self._queries.query(filter)
        return await self._read(
            check_name(collection), lambda connection, known, _: reading.count(connection, known, query)
        )


def updating_of(
    queries: Queries, filter: Filter, update: Mapping[str, Any], *, upsert: bool, limit: int | None = None
) -> Updating:
    """Return an update on its way; raises `InvalidQuery` where it or the filter is none."""
    made = parse_filter(filter) if upsert else None
    return Updating(queries.query(filter), parse_update(update), made, limit)


def _check_page(limit: int | None, skip: int) -> None:
    if (limit is not None and limit < 0) or skip < 0:
        raise InvalidQuery(f"limit {limit} and skip {skip} cannot be negative")
