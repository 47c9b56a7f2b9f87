"""The record store: documents as nodes, with as much of a query as Cypher can say exactly done by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aats_core.clock import Clock
from aats_core.query import Clause, parse_filter, parse_pipeline, parse_projection, parse_sort, project
from aats_core.query.filters import And
from aats_core.query.pipelines import Count, Group, Limit, Match, Sort, Stage
from aats_core.storage.collection import check_name
from aats_core.storage.evaluated import EvaluatedRecords
from aats_core.storage.evaluated.keys import wanted_keys
from aats_core.store import Document, Filter
from aats_store_neo4j.catalog import Catalog
from aats_store_neo4j.database import Documents
from aats_store_neo4j.pushdown import Pushdown


class Neo4jRecords(EvaluatedRecords):
    """Documents in a Neo4j database."""

    def __init__(self, documents: Documents, catalog: Catalog, clock: Clock) -> None:
        super().__init__(documents, clock)
        self._documents = documents
        self._catalog = catalog

    async def drain(self) -> None:
        """Wait until what was begun has ended."""
        await super().drain()
        await self._documents.drain()

    async def sweep(self) -> None:
        """Delete what has expired."""
        await self.expire(await self._catalog.expiring())

    async def _pushdown(self, name: str, clause: Clause) -> Pushdown:
        return Pushdown(self._documents.sessions, await self._catalog.find(check_name(name)), clause)

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
        if limit is not None and limit > 0 and skip >= 0:
            clause = parse_filter(filter or {})
            order = parse_sort(sort, "sort") if sort else ()
            kept = parse_projection(projection) if projection else None
            if wanted_keys(clause) is None:
                page = await (await self._pushdown(collection, clause)).page(order, skip + limit)
                if page is not None:
                    return page[skip:] if kept is None else [project(document, kept) for document in page[skip:]]
        return await super().find(collection, filter, projection=projection, sort=sort, limit=limit, skip=skip)

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""
        clause = parse_filter(filter or {})
        if wanted_keys(clause) is None:
            number = await (await self._pushdown(collection, clause)).count()
            if number is not None:
                return number
        return await super().count(collection, filter)

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out.

        The server filters, and where that is all, counts, groups, or sorts and limits.
        """
        stages = parse_pipeline(pipeline)
        clause, rest = (stages[0].clause, stages[1:]) if stages and isinstance(stages[0], Match) else (And(()), stages)
        made = await self._begun(collection, clause, rest)
        return await super().aggregate(collection, pipeline) if made is None else made

    async def _begun(self, name: str, clause: Clause, stages: Sequence[Stage]) -> list[Document] | None:
        """Return what comes out of stages that the server can do; None where there are others."""
        if len(stages) == 1 and isinstance(first := stages[0], Count):
            number = await (await self._pushdown(name, clause)).count()
            return None if number is None else [{first.name: number}] if number else []
        if len(stages) == 1 and isinstance(first := stages[0], Group):
            return await (await self._pushdown(name, clause)).groups(first)
        if len(stages) == 2 and isinstance(first := stages[0], Sort) and isinstance(last := stages[1], Limit):
            return await (await self._pushdown(name, clause)).page(first.order, last.count)
        return None
