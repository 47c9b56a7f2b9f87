"""The graph store: a table of nodes, one of relations, and a full-text index over the nodes' properties."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import apsw
import msgspec

from aats_core.storage.traversal import Direction, Search, Steps, WalkedGraph, ends, walk
from aats_core.store import Document, Relation
from aats_store_sqlite.codec import decode, encode
from aats_store_sqlite.readers import Readers
from aats_store_sqlite.reading import snapshot
from aats_store_sqlite.session import Session
from aats_store_sqlite.writer import Writer

T = TypeVar("T")

LAYOUT = """
CREATE TABLE aats_nodes (
    number INTEGER PRIMARY KEY,
    graph TEXT NOT NULL,
    id TEXT NOT NULL,
    properties TEXT NOT NULL,
    UNIQUE (graph, id)
);
CREATE TABLE aats_relations (
    graph TEXT NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    properties TEXT NOT NULL,
    PRIMARY KEY (graph, source, kind, target)
) WITHOUT ROWID;
CREATE INDEX aats_relations_back ON aats_relations (graph, target, kind, source);
CREATE VIRTUAL TABLE aats_nodes_text USING fts5(
    text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
"""


class SqliteGraph(WalkedGraph):
    """Nodes and relations in a SQLite file."""

    def __init__(self, writer: Writer, readers: Readers, namespace: str) -> None:
        self._writer = writer
        self._readers = readers
        self._namespace = namespace

    def _graph(self, graph: str) -> str:
        return f"{self._namespace}.{graph}"

    async def put_node(self, graph: str, id: str, properties: Mapping[str, Any]) -> None:
        """Write a node, replacing its properties where it exists."""
        stored, text = encode(dict(properties), f"node {id}"), " ".join(_texts(properties))

        def step(session: Session) -> None:
            number = session.connection.execute(
                "INSERT INTO aats_nodes (graph, id, properties) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET properties = excluded.properties RETURNING number",
                (self._graph(graph), id, stored),
            ).get
            session.connection.execute("DELETE FROM aats_nodes_text WHERE rowid = ?", (number,))
            session.connection.execute("INSERT INTO aats_nodes_text (rowid, text) VALUES (?, ?)", (number, text))

        await self._writer.submit(step)

    async def node(self, graph: str, id: str) -> Document | None:
        """Return a node's properties, or None."""
        sql = "SELECT properties FROM aats_nodes WHERE graph = ? AND id = ?"
        stored: Any = await self._readers.run(lambda connection: connection.execute(sql, (self._graph(graph), id)).get)
        return None if stored is None else decode(stored)

    async def delete_node(self, graph: str, id: str) -> bool:
        """Delete a node and its relations; tells whether there was one."""
        name = self._graph(graph)

        def step(session: Session) -> bool:
            run = session.connection.execute
            number = run("DELETE FROM aats_nodes WHERE graph = ? AND id = ? RETURNING number", (name, id)).get
            run("DELETE FROM aats_nodes_text WHERE rowid = ?", (number,))
            run("DELETE FROM aats_relations WHERE graph = ? AND source = ?", (name, id))
            run("DELETE FROM aats_relations WHERE graph = ? AND target = ?", (name, id))
            return number is not None

        existed: bool = await self._writer.submit(step)
        return existed

    async def relate(self, graph: str, *relations: Relation) -> None:
        """Write relations, replacing the properties of those that exist; missing nodes are made."""
        name = self._graph(graph)
        rows = [
            (each.source, each.kind, each.target, encode(each.properties, f"relation {each.source} {each.kind}"))
            for each in relations
        ]
        written = msgspec.json.encode(rows).decode()
        nodes = msgspec.json.encode(sorted({end for source, _, target, _ in rows for end in (source, target)})).decode()

        def step(session: Session) -> None:
            session.connection.execute(
                "INSERT INTO aats_nodes (graph, id, properties) SELECT ?, value, '{}' FROM json_each(?) WHERE true"
                " ON CONFLICT DO NOTHING",
                (name, nodes),
            )
            session.connection.execute(
                "INSERT INTO aats_relations SELECT ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3"
                " FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET properties = excluded.properties",
                (name, written),
            )

        await self._writer.submit(step)

    async def unrelate(self, graph: str, source: str, kind: str, target: str) -> bool:
        """Delete one relation; tells whether there was one."""
        sql = "DELETE FROM aats_relations WHERE graph = ? AND source = ? AND kind = ? AND target = ?"

        def step(session: Session) -> bool:
            session.connection.execute(sql, (self._graph(graph), source, kind, target))
            return bool(session.connection.changes())

        existed: bool = await self._writer.submit(step, atomic=True)
        return existed

    async def _search(self, graph: str, kind: str | None, search: Callable[[], Search[T]]) -> T:
        of_kind = "" if kind is None else "AND kind = ?3"
        arguments = [self._graph(graph), *([] if kind is None else [kind])]

        def read(connection: apsw.Connection) -> T:
            def step(ids: list[str], direction: Direction) -> Steps:
                here, there = ends(direction)
                sql = (
                    f"SELECT DISTINCT {here}, {there} FROM json_each(?1) CROSS JOIN aats_relations"
                    f" WHERE graph = ?2 AND {here} = value {of_kind} ORDER BY {there}, {here}"
                )
                found: Any = connection.execute(sql, (msgspec.json.encode(ids).decode(), *arguments)).fetchall()
                return found  # type: ignore[no-any-return] # the columns are declared TEXT

            with snapshot(connection):
                return walk(search(), step)

        return await self._readers.run(read)

    async def search(self, graph: str, text: str, *, limit: int = 20) -> list[tuple[str, float]]:
        """Return ids and scores (by BM25, larger is better) of nodes whose texts hold all those words, best first."""
        words = re.findall(r"\w+", text)
        if not words:
            return []
        query = " ".join(f'"{word}"' for word in words)
        sql = (
            "SELECT id, -bm25(aats_nodes_text) FROM aats_nodes_text JOIN aats_nodes ON number = aats_nodes_text.rowid"
            " WHERE aats_nodes_text MATCH ? AND graph = ? ORDER BY bm25(aats_nodes_text), id LIMIT ?"
        )
        parameters = (query, self._graph(graph), limit)
        found: Any = await self._readers.run(lambda connection: connection.execute(sql, parameters).fetchall())
        return [(node, score) for node, score in found]


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings that a value holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
