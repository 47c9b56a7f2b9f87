"""Which collections there are, under which label their documents lie, and what they must fit."""

from __future__ import annotations

import hashlib
from functools import cached_property

import msgspec

from aats_core.storage.collection import KnownCollection
from aats_core.store import Schema
from aats_store_neo4j.layout import COLLECTION
from aats_store_neo4j.sessions import Sessions

_decode_schema = msgspec.json.Decoder(Schema).decode


class Collection(KnownCollection, frozen=True, eq=False, dict=True):
    """A collection in this database; its generation grows with every change of its schema."""

    space: str
    generation: int

    @cached_property
    def label(self) -> str:
        """The label of its documents; the names of namespaces and collections need no escaping between backticks."""
        return f"`{self.space}.{self.name}`"

    @cached_property
    def key(self) -> str:
        """What the keys of its documents begin with, which is also a word for the full-text index."""
        return hashlib.blake2b(f"{self.space}.{self.name}".encode(), digest_size=12).hexdigest()


class Catalog:
    """The collections of a namespace, as far as this process has seen them."""

    def __init__(self, sessions: Sessions, space: str) -> None:
        self._sessions = sessions
        self._space = space
        self._known: dict[str, Collection] = {}

    async def find(self, name: str, *, fresh: bool = False) -> Collection:
        """Return a collection, one of generation 0 and without a schema where nobody has given it one."""
        known = None if fresh else self._known.get(name)
        if known is None:
            known = self._collection(name, 0, Schema())
            rows = await self._sessions.read(
                f"MATCH (c:{COLLECTION} {{`aats:key`: $key}}) RETURN c.generation, c.schema", key=known.key
            )
            if rows:
                known = self._collection(name, rows[0][0], _decode_schema(rows[0][1]))
            self._known[name] = known
        return known

    async def expiring(self) -> list[str]:
        """Return the names of all collections whose documents expire."""
        rows = await self._sessions.read(
            f"MATCH (c:{COLLECTION} {{space: $space}}) RETURN c.name, c.schema",
            space=self._space,
        )
        known = [self._collection(row[0], 0, _decode_schema(row[1])) for row in rows]
        return [each.name for each in known if each.expiries]

    async def replace(self, old: Collection, schema: Schema) -> Collection | None:
        """Give a collection another schema; None where somebody else has meanwhile."""
        new = self._collection(old.name, old.generation + 1, schema)
        rows = await self._sessions.change(
            f"MERGE (c:{COLLECTION} {{`aats:key`: $key}})"
            " ON CREATE SET c.space = $space, c.name = $name, c.generation = 0"
            " WITH c WHERE c.generation = $before SET c.generation = $after, c.schema = $schema RETURN 1",
            key=new.key,
            space=self._space,
            name=new.name,
            before=old.generation,
            after=new.generation,
            schema=msgspec.json.encode(schema).decode(),
        )
        if not rows:
            return None
        self._known[new.name] = new
        return new

    def _collection(self, name: str, generation: int, schema: Schema) -> Collection:
        return Collection(id=0, name=name, schema=schema, space=self._space, generation=generation)
