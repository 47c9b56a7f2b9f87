"""The contracts of stores: a store is a database, and what it can do is said by the capabilities that it offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec

from aats_core.health import Health

Document: TypeAlias = dict[str, Any]
"""A record: a JSON-like object, plus dates, bytes and decimals as values; `_id` is its unique key."""

Filter: TypeAlias = Mapping[str, Any]
"""Which documents, in the query language of `aats_core.query`; empty means all of them."""


class Store(ABC):
    """A database. A subclass is built from its settings and does nothing before `connect`."""

    @property
    @abstractmethod
    def capabilities(self) -> Sequence[Capability]:
        """What it offers: at most one object of each of the classes below; they are usable once it is connected."""

    @abstractmethod
    async def connect(self) -> None:
        """Open what it needs; raises `StoreUnavailable` where that fails within its timeout."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun and release everything; closing twice is harmless."""

    @abstractmethod
    async def health(self) -> Health:
        """Say whether the database can be reached and written; never raises."""

    @property
    @abstractmethod
    def native(self) -> Any:
        """The driver's own object, for what only this database can do."""


class Capability(ABC):  # noqa: B024 - it only marks what agents can ask for by type
    """Something that a store can do."""


# What one atomic `write` is made of.


class Put(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Write a whole document under its `_id`, whether or not there was one."""

    collection: str
    document: Document


class Insert(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Write a new document; `DuplicateKey` where its `_id` exists."""

    collection: str
    document: Document


class Update(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Change the documents that match."""

    collection: str
    filter: dict[str, Any]
    update: dict[str, Any]
    upsert: bool = False


class Delete(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Delete the documents that match."""

    collection: str
    filter: dict[str, Any]


class Require(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Go on only if some document matches; otherwise the whole write fails with `Conflict`.

    The document cannot change between this check and the commit, so it can serve as a fence.
    """

    collection: str
    filter: dict[str, Any]


Write: TypeAlias = Put | Insert | Update | Delete | Require


class UpdateResult(msgspec.Struct, frozen=True):
    """How many documents matched, how many of them changed, and the `_id` of one that an upsert made."""

    matched: int
    modified: int
    upserted_id: Any = None


class Index(msgspec.Struct, frozen=True):
    """An index over fields (dotted paths), each 1 ascending or -1 descending.

    `expire_after` (seconds) deletes documents that long after the date in its one field; `text` makes it a
    full-text index over its fields.
    """

    fields: dict[str, int]
    unique: bool = False
    expire_after: float | None = None
    text: bool = False


class Schema(msgspec.Struct, frozen=True):
    """What a collection holds: its indexes, and a JSON Schema that every document must fit."""

    indexes: tuple[Index, ...] = ()
    json_schema: dict[str, Any] | None = None


class Records(ABC):
    """Operations on collections of documents, alone or within a transaction.

    A collection comes into being with its first document. Filters, updates and pipelines mean what they mean in
    MongoDB; an operator that is not in the documented subset raises `InvalidQuery` and names it.
    """

    @abstractmethod
    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        """Write new documents, all or none, and return their `_id`s in order; a missing `_id` is made up.

        Documents are passed one by one. Raises `DuplicateKey` where an `_id` or a unique index has that value already,
        and `InvalidDocument` for what is no document.
        """

    @abstractmethod
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
        """Return the documents that match, in the order of `sort` (1 ascending, -1 descending)."""

    @abstractmethod
    async def update(
        self,
        collection: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        upsert: bool = False,
        limit: int | None = None,
    ) -> UpdateResult:
        """Change every document that matches, or with `limit=1` at most one of them.

        `upsert` writes a new document from the filter's equalities and the update where nothing matched.
        """

    @abstractmethod
    async def delete(self, collection: str, filter: Filter) -> int:
        """Delete every document that matches and return how many there were."""

    @abstractmethod
    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out."""

    @abstractmethod
    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""


class RecordStore(Records, Capability):
    """Keeps documents in collections."""

    @abstractmethod
    async def write(self, operations: Sequence[Write]) -> None:
        """Apply all operations in order in one transaction, or none of them; returns once they are durable.

        This is the fast path for many small changes: calls that come at the same time may share one commit.
        """

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Records]:
        """Return a context in which reads and writes belong together; an exception rolls all of it back."""

    @abstractmethod
    def stream(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Document, None]:
        """Yield what `find` would return, fetching a few hundred at a time, for results too large to hold.

        Each document that matches all the while comes exactly once; whether changes made meanwhile are seen depends
        on the store. Where documents hold objects or arrays at the paths of `sort`, a store may have to hold them all.
        Use `contextlib.aclosing` where it may be left early. Raises as `find` does, once the first one is asked for.
        """

    @abstractmethod
    async def ensure(self, collection: str, schema: Schema) -> None:
        """Make the collection and its indexes as described; doing so again changes nothing."""


class Relation(msgspec.Struct, frozen=True):
    """An edge of a graph, from one node to another, with its kind and properties."""

    source: str
    kind: str
    target: str
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class GraphStore(Capability):
    """Keeps nodes, each with an id and properties, and directed relations between them."""

    @abstractmethod
    async def put_node(self, graph: str, id: str, properties: Mapping[str, Any]) -> None:
        """Write a node, replacing its properties where it exists."""

    @abstractmethod
    async def node(self, graph: str, id: str) -> Document | None:
        """Return a node's properties, or None."""

    @abstractmethod
    async def delete_node(self, graph: str, id: str) -> bool:
        """Delete a node and its relations; tells whether there was one."""

    @abstractmethod
    async def relate(self, graph: str, *relations: Relation) -> None:
        """Write relations, replacing the properties of those that exist; missing nodes are made."""

    @abstractmethod
    async def unrelate(self, graph: str, source: str, kind: str, target: str) -> bool:
        """Delete one relation; tells whether there was one."""

    @abstractmethod
    async def neighbours(
        self,
        graph: str,
        id: str,
        *,
        kind: str | None = None,
        direction: str = "out",
        depth: int = 1,
    ) -> list[str]:
        """Return ids reached within `depth` steps, nearest first, without the start; `direction`: out, in or both."""

    @abstractmethod
    async def shortest_path(
        self, graph: str, source: str, target: str, *, kind: str | None = None, max_depth: int = 32
    ) -> list[str] | None:
        """Return the ids along one shortest directed path, both ends included, or None."""

    @abstractmethod
    async def search(self, graph: str, text: str, *, limit: int = 20) -> list[tuple[str, float]]:
        """Return ids and scores of nodes whose text properties hold all those words, best first."""


class Lock(msgspec.Struct, frozen=True):
    """A lock that is held; `token` grows with every holder, so that a store can refuse an older one."""

    name: str
    token: int


class KeyValueStore(Capability):
    """Keeps values under string keys. A value is anything JSON can carry, and bytes."""

    @abstractmethod
    async def get(self, key: str) -> Any:
        """Return the value, or None where there is none or its time has run out."""

    @abstractmethod
    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Write a value, for `ttl` seconds or for good."""

    @abstractmethod
    async def delete(self, key: str) -> bool:
        """Delete a key; tells whether there was one."""

    @abstractmethod
    async def increment(self, key: str, by: int = 1) -> int:
        """Add to an integer (0 where there is none) atomically and return the new value."""

    @abstractmethod
    def lock(self, name: str, *, ttl: float = 30.0, timeout: float | None = None) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock while in the context; it is renewed meanwhile and runs out `ttl` seconds after its holder died.

        Raises `TimeoutError` where it could not be had within `timeout` seconds.
        """

    @abstractmethod
    async def limit(self, key: str, *, rate: int, per: float) -> float:
        """Take one of `rate` permits per `per` seconds; returns 0.0, or the seconds after which to try again."""


class Match(msgspec.Struct, frozen=True):
    """A vector found: its id, its similarity to the query (larger is nearer), and its properties."""

    id: str
    score: float
    properties: Document


class VectorStore(Capability):
    """Keeps vectors with properties and finds the nearest ones."""

    @abstractmethod
    async def upsert(self, collection: str, id: str, vector: Sequence[float], properties: Document) -> None:
        """Write a vector, replacing the one with that id."""

    @abstractmethod
    async def search(
        self,
        collection: str,
        vector: Sequence[float],
        k: int,
        filter: Filter | None = None,
    ) -> list[Match]:
        """Return the k nearest vectors whose properties match, nearest first."""

    @abstractmethod
    async def delete(self, collection: str, *ids: str) -> int:
        """Delete vectors and return how many there were."""
