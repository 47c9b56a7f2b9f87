"""Which collections there are, in which tables they lie, and what they must fit."""

from __future__ import annotations

import re
from functools import cached_property

import msgspec

from aats_core.storage.collection import KnownCollection
from aats_core.store import Schema
from aats_store_postgres.layout import locking
from aats_store_postgres.session import Session
from aats_store_postgres.texts import words_at

_LONGEST = 40
_decode_schema = msgspec.json.Decoder(Schema).decode


class Collection(KnownCollection, frozen=True, eq=False, dict=True):
    """A collection, what it holds, and where it lies.

    Its table gets a new name, with the next generation, whenever the schema changes: a client that does not know the
    change yet fails and looks again.
    """

    space: str
    generation: int = 1

    @cached_property
    def table(self) -> str:
        """The table of its documents, with the columns `id`, `body` (as it was written) and `doc`."""
        return f"{self.space}.{self.bare_table}"

    @property
    def bare_table(self) -> str:
        """The name of its table within the schema of the database; it needs no quoting."""
        slug = re.sub(r"[^a-z0-9_]", "_", self.name.lower())[:_LONGEST]
        return f"c{self.id}_{self.generation}_{slug}"

    @property
    def unique_table(self) -> str:
        """The keys that its unique indexes hold, with the columns `number`, `key` and `owner`."""
        return f"{self.space}.unique_{self.id}"

    @cached_property
    def words(self) -> str | None:
        """The expression of its full-text index, if it has one."""
        return words_at(self.text_paths) if self.text_paths else None


class Catalog:
    """The collections of a namespace, as far as this process has seen them."""

    def __init__(self, space: str, namespace: str) -> None:
        self.space = space
        self.namespace = namespace
        self._known: dict[str, Collection] = {}

    def get(self, name: str) -> Collection | None:
        """Return a collection that was seen before."""
        return self._known.get(name)

    def forget(self) -> None:
        """Look all collections up again: the schema of one of them has changed."""
        self._known.clear()

    async def load(self, session: Session) -> None:
        """See all collections."""
        rows = await session.fetch(
            f"SELECT id, name, generation, schema FROM {self.space}.collections WHERE namespace = $1", self.namespace
        )
        self._known = {row[1]: Collection(row[0], row[1], _decode_schema(row[3]), self.space, row[2]) for row in rows}

    def all(self) -> list[Collection]:
        """Return the collections that were seen."""
        return list(self._known.values())

    async def find(self, session: Session, name: str) -> Collection | None:
        """Return a collection, or None where there is none."""
        rows = await session.fetch(
            f"SELECT id, generation, schema FROM {self.space}.collections WHERE namespace = $1 AND name = $2",
            self.namespace,
            name,
        )
        if not rows:
            return None
        number, generation, schema = rows[0]
        found = Collection(number, name, _decode_schema(schema), self.space, generation)
        self._known[name] = found
        return found

    async def make(self, session: Session, name: str) -> Collection:
        """Return a collection, made in a transaction of its own where it does not exist."""
        await session.run("BEGIN;" + locking(self.space))
        found = await self.find(session, name)
        if found is None:
            schema = msgspec.json.encode(Schema()).decode()
            number = await session.value(
                f"INSERT INTO {self.space}.collections (namespace, name, schema) VALUES ($1, $2, $3) RETURNING id",
                self.namespace,
                name,
                schema,
            )
            found = Collection(number, name, Schema(), self.space)
            await self.make_table(session, found)
        await session.run("COMMIT")
        self._known[name] = found
        return found

    async def make_table(self, session: Session, collection: Collection, tail: str = "") -> None:
        """Make the table of a collection."""
        await session.run(
            f'CREATE TABLE {collection.table} (id text COLLATE "C" PRIMARY KEY,'
            f" doc jsonb NOT NULL GENERATED ALWAYS AS (body::jsonb) STORED, body text NOT NULL){tail};"
            f"COMMENT ON TABLE {collection.table} IS 'documents of {self.namespace}.{collection.name}'"
        )

    async def replace(self, session: Session, changed: Collection) -> Collection:
        """Write the changed schema of a collection, whose table gets its next name; within a transaction."""
        new = await self.renew(session, changed)
        await session.run(f"ALTER TABLE {changed.table} RENAME TO {new.bare_table}")
        return new

    async def renew(self, session: Session, changed: Collection) -> Collection:
        """Write the changed schema of a collection and return its next generation, whose table is still to be made."""
        new = msgspec.structs.replace(changed, generation=changed.generation + 1)
        await session.fetch(
            f"UPDATE {self.space}.collections SET schema = $1, generation = $2 WHERE id = $3",
            msgspec.json.encode(new.schema).decode(),
            new.generation,
            new.id,
        )
        return new
