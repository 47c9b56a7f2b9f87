"""The graph store: a table of nodes with the words they hold, and one of relations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aats_core.errors import StoreError
from aats_core.storage.traversal import Direction, Search, Steps, WalkedGraph, ends, walk_async
from aats_core.store import Document, Relation
from aats_store_postgres.codec import decode, encode
from aats_store_postgres.pool import Pool
from aats_store_postgres.session import Row, Session
from aats_store_postgres.texts import without_accents, words_of

T = TypeVar("T")

LAYOUT = f"""
CREATE TABLE IF NOT EXISTS {{space}}.nodes (
    graph text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    properties text NOT NULL,
    words tsvector NOT NULL GENERATED ALWAYS AS ({words_of("properties::jsonb")}) STORED,
    PRIMARY KEY (graph, id)
);
CREATE INDEX IF NOT EXISTS nodes_words ON {{space}}.nodes USING gin (words);
CREATE TABLE IF NOT EXISTS {{space}}.relations (
    graph text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,
    properties text NOT NULL,
    PRIMARY KEY (graph, source, kind, target)
);
CREATE INDEX IF NOT EXISTS relations_back ON {{space}}.relations (graph, target, kind, source);
"""

_BY_LENGTH = 1 | 32
"""How a score is made: less the longer the text is, and below 1."""


class PostgresGraph(WalkedGraph):
    """Nodes and relations in a PostgreSQL database."""

    def __init__(self, pool: Pool, space: str, namespace: str) -> None:
        self._pool = pool
        self._nodes = f"{space}.nodes"
        self._relations = f"{space}.relations"
        self._namespace = namespace

    def _graph(self, graph: str) -> str:
        return f"{self._namespace}.{graph}"

    async def _fetch(self, sql: str, *arguments: Any, repeatable: bool = False) -> list[Row]:
        if any("\0" in each for each in arguments if isinstance(each, str)):
            raise StoreError("the names of graphs, nodes and relations hold no NUL character")

        async def work(session: Session) -> list[Row]:
            return await session.fetch(sql, *arguments)

        return await self._pool.run(work, repeatable=repeatable)

    async def put_node(self, graph: str, id: str, properties: Mapping[str, Any]) -> None:
        """Write a node, replacing its properties where it exists."""
        sql = (
            f"INSERT INTO {self._nodes} (graph, id, properties) VALUES ($1, $2, $3)"
            " ON CONFLICT (graph, id) DO UPDATE SET properties = excluded.properties"
        )
        await self._fetch(sql, self._graph(graph), id, encode(dict(properties), f"node {id}"))

    async def node(self, graph: str, id: str) -> Document | None:
        """Return a node's properties, or None."""
        sql = f"SELECT properties FROM {self._nodes} WHERE graph = $1 AND id = $2"
        rows = await self._fetch(sql, self._graph(graph), id, repeatable=True)
        return decode(rows[0][0]) if rows else None

    async def delete_node(self, graph: str, id: str) -> bool:
        """Delete a node and its relations; tells whether there was one."""
        sql = (
            f"WITH gone AS (DELETE FROM {self._relations} WHERE graph = $1 AND (source = $2 OR target = $2))"
            f" DELETE FROM {self._nodes} WHERE graph = $1 AND id = $2 RETURNING 1"
        )
        return bool(await self._fetch(sql, self._graph(graph), id))

    async def relate(self, graph: str, *relations: Relation) -> None:
        """Write relations, replacing the properties of those that exist; missing nodes are made."""
        last = {(each.source, each.kind, each.target): each.properties for each in relations}
        if not last:
            return
        properties = [encode(last[edge], f"relation {edge[0]} {edge[1]}") for edge in sorted(last)]
        ends = sorted({end for source, _, target in last for end in (source, target)})
        sql = (
            f"WITH made AS (INSERT INTO {self._nodes} (graph, id, properties)"
            " SELECT $1, id, '{}' FROM unnest($2::text[]) AS u(id) ON CONFLICT DO NOTHING)"
            f" INSERT INTO {self._relations} SELECT $1, * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[])"
            " ON CONFLICT (graph, source, kind, target) DO UPDATE SET properties = excluded.properties"
        )
        await self._fetch(sql, self._graph(graph), ends, *map(list, zip(*sorted(last), strict=True)), properties)

    async def unrelate(self, graph: str, source: str, kind: str, target: str) -> bool:
        """Delete one relation; tells whether there was one."""
        sql = (
            f"DELETE FROM {self._relations} WHERE graph = $1 AND source = $2 AND kind = $3 AND target = $4 RETURNING 1"
        )
        return bool(await self._fetch(sql, self._graph(graph), source, kind, target))

    async def _search(self, graph: str, kind: str | None, search: Callable[[], Search[T]]) -> T:
        of_kind = "" if kind is None else "AND kind = $3"
        arguments = [self._graph(graph), *([] if kind is None else [kind])]

        async def work(session: Session) -> T:
            async def step(ids: list[str], direction: Direction) -> Steps:
                here, there = ends(direction)
                sql = (
                    f"SELECT DISTINCT {here}, {there} FROM {self._relations}"
                    f" WHERE graph = $2 AND {here} = ANY($1::text[]) {of_kind} ORDER BY {there}, {here}"
                )
                return [(row[0], row[1]) for row in await session.fetch(sql, ids, *arguments)]

            await session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            result = await walk_async(search(), step)
            await session.run("COMMIT")
            return result

        return await self._pool.run(work, repeatable=True)

    async def search(self, graph: str, text: str, *, limit: int = 20) -> list[tuple[str, float]]:
        """Return ids and scores (larger is better) of nodes whose texts hold all those words, best first."""
        words = " ".join(re.findall(r"\w+", without_accents(text)))
        if not words:
            return []
        sql = (
            f"SELECT id, ts_rank(words, query, {_BY_LENGTH}) AS score FROM {self._nodes},"
            " plainto_tsquery('simple'::regconfig, $2) AS query WHERE graph = $1 AND words @@ query"
            " ORDER BY score DESC, id LIMIT $3"
        )
        rows = await self._fetch(sql, self._graph(graph), words, limit, repeatable=True)
        return [(row[0], float(row[1])) for row in rows]
