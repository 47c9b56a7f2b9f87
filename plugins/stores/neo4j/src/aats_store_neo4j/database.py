"""Documents as nodes: how they are read by their keys and by filters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from aats_core.batching import Batcher
from aats_core.query import Clause
from aats_core.storage.evaluated import Commit, Database, Stored
from aats_core.store import Schema
from aats_store_neo4j import commits, schemas
from aats_store_neo4j.catalog import Catalog, Collection
from aats_store_neo4j.commits import node_key
from aats_store_neo4j.layout import DOCUMENT
from aats_store_neo4j.search import Search
from aats_store_neo4j.sessions import Sessions

_LARGEST = 16 * 1024 * 1024
_PAGE = 2000
"""Documents that one statement returns."""


class Documents(Database):
    """Documents in a Neo4j database."""

    largest = _LARGEST

    def __init__(self, sessions: Sessions, catalog: Catalog) -> None:
        self.sessions = sessions
        self.timeout = sessions.timeout
        self._catalog = catalog
        self._points: Batcher[str, bytes | None] = Batcher(self._fetch_batch, lanes=4)

    async def drain(self) -> None:
        """Wait until what was begun has ended."""
        await self._points.drain()

    async def collection(self, name: str, *, fresh: bool = False) -> Collection:
        """Return a collection and its schema, an empty one where nobody made it; looked up again where `fresh`."""
        return await self._catalog.find(name, fresh=fresh)

    async def fetch(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the stored forms under those keys; that of one together with what others ask for."""
        collection = await self._catalog.find(name)
        nodes = [node_key(collection, key) for key in keys]
        if len(nodes) == 1:
            return [await self._points.do(nodes[0])]
        found: list[bytes | None] = []
        for at in range(0, len(nodes), _PAGE):
            found += await self._fetch_batch(nodes[at : at + _PAGE])
        return found

    async def _fetch_batch(self, nodes: list[str]) -> list[bytes | None]:
        rows = await self.sessions.read(
            f"UNWIND $keys AS key MATCH (d:{DOCUMENT} {{`aats:key`: key}}) RETURN collect([key, d.`aats:body`])",
            keys=list(dict.fromkeys(nodes)),
        )
        bodies = {key: body.encode() for key, body in rows[0][0]}
        return [bodies.get(key) for key in nodes]

    async def candidates(self, collection: Any, clause: Clause) -> AsyncGenerator[Sequence[Stored], None]:
        """Yield the documents that may match: at first some at once, then the rest of them by their keys."""
        search = Search(collection, clause)
        first = await self._stored(search.statement(f"WITH d LIMIT {_PAGE}"), **search.parameters)
        yield first
        if len(first) == _PAGE:
            rows = await self.sessions.read(search.statement("RETURN collect(d.`aats:key`)"), **search.parameters)
            for at in range(0, len(rows[0][0]), _PAGE):
                yield await self.by_nodes(rows[0][0][at : at + _PAGE])

    async def by_nodes(self, nodes: Sequence[str]) -> list[Stored]:
        """Return the documents of nodes, in their order, those that there still are."""
        return await self._stored(f"UNWIND $keys AS key MATCH (d:{DOCUMENT} {{`aats:key`: key}})", keys=nodes)

    async def _stored(self, statement: str, **parameters: Any) -> list[Stored]:
        """Return the documents that a statement finds: in one list, which the driver reads much faster than rows."""
        rows = await self.sessions.read(f"{statement} RETURN collect([d.`aats:id`, d.`aats:body`])", **parameters)
        return [(key, body.encode()) for key, body in rows[0][0]]

    async def commit(self, commit: Commit) -> bool:
        """Apply it in a transaction of the server; False, and nothing is applied, where others came in between."""
        return await commits.apply(self.sessions, commit)

    async def ensure(self, name: str, schema: Schema) -> None:
        """Make the collection and what it lacks of a schema that was checked."""
        await schemas.ensure(self, self._catalog, name, schema)
