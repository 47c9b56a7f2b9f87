"""The graph store: nodes and relations as Neo4j has them, with the kind of a relation as its type."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from aats_core.batching import Batcher
from aats_core.errors import StoreError, StoreUnavailable
from aats_core.query.search import words_of
from aats_core.storage.evaluated.codec import decode, encode
from aats_core.storage.traversal import Direction
from aats_core.store import Document, GraphStore, Relation
from aats_store_neo4j import walks
from aats_store_neo4j.layout import NODE, NODE_WORDS
from aats_store_neo4j.names import kind_name
from aats_store_neo4j.native import native_fields
from aats_store_neo4j.sessions import Rows, Sessions, Transaction
from aats_store_neo4j.walks import MOST_STEPS

_LONGEST_ID = 1000
_MOST = 1000
"""Relations that one statement writes."""


class _Write(NamedTuple):
    """One of the changes that share a transaction: all of the same statement in turn travel as its rows.

    A statement tells of each of its rows whether it found what it was to change: `key`, where there is only one.
    """

    statement: str
    rows: list[dict[str, Any]]
    key: tuple[str, ...] = ()


_PUT = f"UNWIND $rows AS row MERGE (n:{NODE} {{`aats:key`: row.key}}) SET n = row.values RETURN 1 AS done"
_DELETE = (
    f"UNWIND $rows AS row OPTIONAL MATCH (n:{NODE} {{`aats:key`: row.key}})"
    " WITH row, n, CASE WHEN n IS NULL THEN 0 ELSE 1 END AS done DETACH DELETE n RETURN done"
)


def _relate(kind: str) -> str:
    made = "ON CREATE SET {0} = row.{1}"
    return (
        f"UNWIND $rows AS row MERGE (a:{NODE} {{`aats:key`: row.source.`aats:key`}}) {made.format('a', 'source')}"
        f" MERGE (b:{NODE} {{`aats:key`: row.target.`aats:key`}}) {made.format('b', 'target')}"
        f" MERGE (a)-[r:{kind}]->(b) SET r = row.values RETURN 1 AS done"
    )


def _unrelate(kind: str) -> str:
    return (
        f"UNWIND $rows AS row OPTIONAL MATCH (:{NODE} {{`aats:key`: row.source}})-[r:{kind}]->"
        f"(:{NODE} {{`aats:key`: row.target}})"
        " WITH r, CASE WHEN r IS NULL THEN 0 ELSE 1 END AS done DELETE r RETURN done"
    )


class Neo4jGraph(GraphStore):
    """Nodes and relations in a Neo4j database."""

    def __init__(self, sessions: Sessions, namespace: str) -> None:
        self._sessions = sessions
        self._namespace = namespace
        self._writes: Batcher[_Write, bool] = Batcher(self._write_batch)
        self._nodes: Batcher[str, Document | None] = Batcher(self._read_batch, lanes=4)
        self.has_apoc = False

    async def drain(self) -> None:
        """Wait until what was begun has ended."""
        await self._writes.drain()
        await self._nodes.drain()

    def _space(self, graph: str) -> str:
        """Return what the keys of a graph begin with, which is also a word for the full-text index."""
        return hashlib.blake2b(
            f"{self._namespace}.{graph}".encode("utf-8", "surrogatepass"), digest_size=12
        ).hexdigest()

    def _key(self, graph: str, id: str) -> str:
        if len(id) > _LONGEST_ID:
            raise StoreError(f"{graph}: the id of a node has {_LONGEST_ID} characters at most, not {len(id)}")
        _check_text(graph, id)
        return f"{self._space(graph)}:{id}"

    def _bare(self, graph: str, id: str) -> dict[str, Any]:
        """Return what a node has that was made by relating it."""
        return {
            "aats:key": self._key(graph, id),
            "aats:graph": f"{self._namespace}.{graph}",
            "aats:id": id,
            "aats:body": "{}",
            "aats:words": self._space(graph),
        }

    # Writes

    async def put_node(self, graph: str, id: str, properties: Mapping[str, Any]) -> None:
        """Write a node, replacing its properties where it exists."""
        body = encode(dict(properties), f"node {id}")
        bare = self._bare(graph, id)
        plain = decode(body)
        own = bare | {"aats:body": body.decode(), "aats:words": " ".join([bare["aats:words"], *_words(plain)])}
        await self._writes.do(_Write(_PUT, [{"key": bare["aats:key"], "values": native_fields(plain) | own}]))

    async def delete_node(self, graph: str, id: str) -> bool:
        """Delete a node and its relations; tells whether there was one."""
        key = self._key(graph, id)
        return await self._writes.do(_Write(_DELETE, [{"key": key}], (key,)))

    async def relate(self, graph: str, *relations: Relation) -> None:
        """Write relations, replacing the properties of those that exist; missing nodes are made."""
        last = {(kind_name(each.kind), each.source, each.target): each for each in relations}
        writes = []
        for kind, group in groupby(sorted(last), key=lambda edge: edge[0]):
            rows = [self._row(graph, last[edge]) for edge in group]
            writes += [_Write(_relate(kind), rows[at : at + _MOST]) for at in range(0, len(rows), _MOST)]
        if len(writes) == 1:
            await self._writes.do(writes[0])
        elif writes:
            await self._sessions.write(lambda transaction: _apply(transaction, writes))

    def _row(self, graph: str, relation: Relation) -> dict[str, Any]:
        body = encode(relation.properties, f"relation {relation.source} {relation.kind}")
        return {
            "source": self._bare(graph, relation.source),
            "target": self._bare(graph, relation.target),
            "values": native_fields(decode(body)) | {"aats:body": body.decode()},
        }

    async def unrelate(self, graph: str, source: str, kind: str, target: str) -> bool:
        """Delete one relation; tells whether there was one."""
        ends = self._key(graph, source), self._key(graph, target)
        row = {"source": ends[0], "target": ends[1]}
        return await self._writes.do(_Write(_unrelate(kind_name(kind)), [row], ends))

    async def _write_batch(self, writes: list[_Write]) -> Sequence[bool | BaseException]:
        try:
            return await self._sessions.write(lambda transaction: _apply(transaction, writes))
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(writes) == 1:
                return [error]
        return [(await self._write_batch([each]))[0] for each in writes]

    # Reads

    async def node(self, graph: str, id: str) -> Document | None:
        """Return a node's properties, or None."""
        return await self._nodes.do(self._key(graph, id))

    async def _read_batch(self, keys: list[str]) -> Sequence[Document | None]:
        rows = await self._sessions.read(
            f"UNWIND $keys AS key MATCH (n:{NODE} {{`aats:key`: key}}) RETURN key, n.`aats:body`",
            keys=list(dict.fromkeys(keys)),
        )
        bodies = {row[0]: row[1].encode() for row in rows}
        return [decode(bodies[key]) if key in bodies else None for key in keys]

    async def neighbours(
        self, graph: str, id: str, *, kind: str | None = None, direction: str = "out", depth: int = 1
    ) -> list[str]:
        """Return the ids reached within `depth` steps, nearest first and by id among equals, without the start."""
        try:
            way = Direction(direction)
        except ValueError as error:
            raise StoreError(f"{graph}: a direction is out, in or both, not {direction!r}") from error
        key, type_name = self._key(graph, id), None if kind is None else kind_name(kind)
        steps = min(int(depth), MOST_STEPS)
        if steps < 1:
            return []
        if self.has_apoc and steps > 1:
            statement, types = walks.reach_by_apoc(type_name, way)
            rows = await self._sessions.read(statement, key=key, types=types, depth=steps)
        else:
            rows = await self._sessions.read(walks.reach(type_name, way, steps), key=key)
        return list(rows[0][0])

    async def shortest_path(
        self, graph: str, source: str, target: str, *, kind: str | None = None, max_depth: int = 32
    ) -> list[str] | None:
        """Return the ids along one shortest directed path of at most `max_depth` relations, or None."""
        if source == target:
            return [source] if await self.node(graph, source) is not None else None
        steps = min(int(max_depth), MOST_STEPS)
        if steps < 1:
            return None
        statement = walks.shortest_path(None if kind is None else kind_name(kind), steps)
        rows = await self._sessions.read(statement, source=self._key(graph, source), target=self._key(graph, target))
        return list(rows[0][0]) if rows else None

    async def search(self, graph: str, text: str, *, limit: int = 20) -> list[tuple[str, float]]:
        """Return ids and scores (larger is better) of nodes whose texts hold all those words, best first."""
        words = list(dict.fromkeys(words_of(text)))
        if not words or limit < 1:
            return []
        wanted = " ".join(f'+"{word}"' for word in words)
        rows = await self._sessions.read(
            f"CALL db.index.fulltext.queryNodes('{NODE_WORDS}', $wanted, {{limit: $limit}}) YIELD node, score"
            " RETURN node.`aats:id` AS id, score ORDER BY score DESC, id",
            wanted=f'+"{self._space(graph)}"^0 {wanted}',
            limit=limit,
        )
        return [(row[0], float(row[1])) for row in rows]


async def _apply(transaction: Transaction, writes: Sequence[_Write]) -> list[bool]:
    """Apply changes in their order, and tell of each whether it found what it was to change."""
    done: list[bool] = []
    for statement, group in groupby(writes, key=lambda write: write.statement):
        together = list(group)
        rows: Rows = await transaction.run(statement, rows=[row for write in together for row in write.rows])
        found, gone = iter(rows), set[tuple[str, ...]]()
        for write in together:
            there = [next(found)[0] for _ in write.rows]
            done.append(all(there) and (not write.key or write.key not in gone))
            gone.add(write.key)
    return done


def _check_text(graph: str, id: str) -> None:
    try:
        id.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"{graph}: the id {id!r} holds half of a surrogate pair") from error


def _words(value: Any) -> list[str]:
    """Return the words of all strings in a value."""
    if value.__class__ is str:
        return words_of(value)
    within = value.values() if value.__class__ is dict else value if value.__class__ is list else ()
    return [word for each in within for word in _words(each)]
