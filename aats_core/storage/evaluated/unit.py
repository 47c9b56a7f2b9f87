"""A unit of work: it reads what there is and what it wrote itself, and all it wrote is committed in one step."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

import msgspec

from aats_core.errors import Conflict, InvalidDocument, InvalidQuery
from aats_core.query import Clause, is_modified, matcher, updated, upserted
from aats_core.query.filters import And, Not, Or, Text
from aats_core.query.needs import Fields, fields_of_filter
from aats_core.storage.collection import KnownCollection
from aats_core.storage.evaluated.codec import decode, decode_all, encode
from aats_core.storage.evaluated.database import UNSEEN, Change, Commit, Database, Seen, Stored, taken_id
from aats_core.storage.evaluated.keys import id_key, wanted_keys
from aats_core.storage.json_schema import validate
from aats_core.storage.operations import Updating, with_id
from aats_core.store import Document, UpdateResult

ALL = And(())
"""The filter that every document matches."""

Place = tuple[str, str]
"""The collection of a document, and its key there."""


Found: TypeAlias = tuple[str, Document, bytes | None]
"""The key of a document, itself, and the stored form that was read; None where that does not matter."""

_Batch: TypeAlias = tuple[Collection[str], list[Document], Collection[bytes | None]]
"""Keys, documents and stored forms, each in the same order."""


class Unit:
    """Reads and writes that belong together.

    A `repeatable` one commits only if nothing that it read has changed meanwhile, and raises `Conflict` as soon as it
    sees that something has; another one only if what it changes or requires is as it was read.
    """

    def __init__(self, database: Database, *, repeatable: bool = False) -> None:
        self._database = database
        self._repeatable = repeatable
        self._known: dict[str, KnownCollection] = {}
        self._seen: dict[Place, bytes | None] = {}
        self._written: dict[Place, Change] = {}
        self._required: set[Place] = set()
        self._revisions: dict[str, Any] = {}
        self._undo: list[tuple[Place, Change | None]] = []
        self._outdated = False
        self.upserts = False

    @property
    def names(self) -> list[str]:
        """The collections that it has to do with."""
        return list(self._known)

    # Reading

    async def collection(self, name: str) -> KnownCollection:
        """Return what is known of a collection, the same throughout."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = await self._database.collection(name)
        return known

    async def look(self, name: str, keys: Iterable[str]) -> None:
        """Read documents by their keys, those that it has not looked at yet."""
        await self.collection(name)
        unseen = [key for key in keys if (name, key) not in self._seen]
        if unseen:
            for key, body in zip(unseen, await self._database.fetch(name, unseen), strict=True):
                self._seen.setdefault((name, key), body)

    async def matching(self, name: str, clause: Clause) -> AsyncGenerator[Sequence[Found], None]:
        """Yield the documents that match, some at a time and in no order; close it where it is left early."""
        bound = await self._with_index(name, clause)
        keys = wanted_keys(bound)
        if keys is not None:
            yield await self._named(name, keys, bound)
            return
        matches = None if bound == ALL else matcher(bound)
        async with aclosing(self._searched(name, bound, None)) as batches:
            async for batch in batches:
                found: list[Found] = list(zip(*batch, strict=True))
                yield found if matches is None else [each for each in found if matches(each[1])]

    async def documents(
        self, name: str, clause: Clause, fields: Fields | None
    ) -> AsyncGenerator[Sequence[Document], None]:
        """Yield the same without keys and stored forms; documents may lack all fields but those that are given."""
        if wanted_keys(clause) is not None:
            yield [document for _, document, _ in await self.found(name, clause)]
            return
        bound = await self._with_index(name, clause)
        matches = None if bound == ALL else matcher(bound)
        async with aclosing(self._searched(name, bound, fields)) as batches:
            async for _, documents, _ in batches:
                yield documents if matches is None else list(filter(matches, documents))

    async def _named(self, name: str, keys: Sequence[str], clause: Clause) -> list[Found]:
        """Return those of the documents under these keys that match."""
        await self.look(name, keys)
        matches = matcher(clause)
        named = ((key, self._body(name, key)) for key in keys)
        found: list[Found] = [(key, decode(body), None) for key, body in named if body is not None]
        return [each for each in found if matches(each[1])]

    async def _searched(self, name: str, clause: Clause, fields: Fields | None) -> AsyncGenerator[_Batch, None]:
        """Yield, of what the database has, documents that may match, then those that the unit wrote."""
        known, written = self._known[name], self._written
        if self._repeatable and name not in self._revisions:
            self._revisions[name] = await self._database.revision(known)
        remembers = self._repeatable and self._revisions[name] is None
        done: set[str] = set()
        async with aclosing(self._database.candidates(known, clause)) as batches:
            async for batch in batches:
                new = dict(batch)
                if written or not done.isdisjoint(new):
                    new = {key: body for key, body in batch if key not in done and (name, key) not in written}
                done.update(new)
                for key, body in new.items() if remembers else ():
                    self._saw(name, key, body)
                yield new, decode_all(new.values(), fields), new.values()
        own = {place[1]: change.body for place, change in written.items() if place[0] == name}
        bodies = {key: body for key, body in own.items() if body is not None}
        yield bodies, decode_all(bodies.values(), fields), [None] * len(bodies)

    async def found(self, name: str, clause: Clause, most: int | None = None) -> list[Found]:
        """Return the documents that match, at most so many."""
        keys = wanted_keys(clause)
        if keys is not None:
            return (await self._named(name, keys, await self._with_index(name, clause)))[:most]
        found: list[Found] = []
        async with aclosing(self.matching(name, clause)) as batches:
            while most is None or len(found) < most:
                try:
                    found += await anext(batches)
                except StopAsyncIteration:
                    break
        return found[:most]

    async def count(self, name: str, clause: Clause) -> int:
        """Return how many documents match."""
        if clause == ALL and not self._repeatable:
            size = await self._database.size(name)
            if size is not None:
                return size
        number = 0
        async with aclosing(self.documents(name, clause, fields_of_filter(clause))) as batches:
            async for batch in batches:
                number += len(batch)
        return number

    async def read(self, name: str, keys: Sequence[str], clause: Clause) -> dict[str, Document]:
        """Return those of the documents under these keys that match."""
        found = await self._named(name, keys, await self._with_index(name, clause))
        return {key: document for key, document, _ in found}

    async def _with_index(self, name: str, clause: Clause) -> Clause:
        """Return a clause whose `$text` knows where to look; raises `InvalidQuery` where there is no index for it."""
        await self.collection(name)
        if not _searches(clause):
            return clause
        paths = self._known[name].text_paths
        if not paths:
            self._known[name] = await self._database.collection(name, fresh=True)
            paths = self._known[name].text_paths
        if not paths:
            raise InvalidQuery(f"{name}: $text needs a text index; give the collection one with ensure")
        return _with_paths(clause, tuple(paths))

    def _saw(self, name: str, key: str, body: bytes | None) -> None:
        """Take note of what was read of a document that the commit depends on."""
        if body is not None and self._seen.setdefault((name, key), body) != body:
            self._outdated = True
            if self._repeatable:
                raise Conflict(f"{name}: others changed what the transaction has read; begin it again")

    def _body(self, name: str, key: str) -> bytes | None:
        written = self._written.get((name, key))
        return self._seen[name, key] if written is None else written.body

    # Writing

    async def put(self, name: str, key: str, body: bytes) -> None:
        """Write a document, whether or not there was one."""
        self._write(await self.collection(name), key, body)

    async def insert(self, name: str, documents: Sequence[Stored]) -> None:
        """Write new documents; `DuplicateKey` here or at the commit where there is one of them."""
        known = await self.collection(name)
        if self._repeatable:
            await self.look(name, [key for key, _ in documents])
        for key, body in documents:
            written = self._written.get((name, key))
            if (self._seen.get((name, key)) if written is None else written.body) is not None:
                raise taken_id(name, body)
            self._write(known, key, body, new=True)

    async def update(self, name: str, updating: Updating[Clause]) -> UpdateResult:
        """Change the documents that match, or make one."""
        found = await self.found(name, updating.query, updating.limit)
        modified = 0
        for key, old, body in found:
            new = updated(old, updating.changes, updating.now)
            if is_modified(old, new, updating.changes):
                self._saw(name, key, body)
                self._write(self._known[name], key, self._encoded(new))
                modified += 1
        if found or updating.upsert is None:
            return UpdateResult(len(found), modified)
        made = with_id(upserted(updating.upsert, updating.changes, updating.now))
        self.upserts = True
        await self.insert(name, [(id_key(made["_id"]), self._encoded(made))])
        return UpdateResult(0, 0, made["_id"])

    def _encoded(self, document: Document) -> bytes:
        return encode_document(document, self._database.largest)

    async def delete(self, name: str, clause: Clause) -> int:
        """Delete the documents that match and return how many there were."""
        found = await self.found(name, clause)
        for key, _, body in found:
            self._saw(name, key, body)
            self._write(self._known[name], key, None)
        return len(found)

    async def require(self, name: str, clause: Clause) -> None:
        """Raise `Conflict` where no document matches; one that does may not change before the commit."""
        for key, _, body in await self.found(name, clause, 1):
            self._saw(name, key, body)
            self._required.add((name, key))
            return
        raise Conflict(f"{name}: no document is as the write requires it")

    def _write(self, known: KnownCollection, key: str, body: bytes | None, *, new: bool = False) -> None:
        if body is not None and known.schema.json_schema is not None:
            validate(known.name, known.schema.json_schema, decode(body))
        place = (known.name, key)
        before = self._written.get(place)
        self._undo.append((place, before))
        seen: Seen = self._seen.get(place, UNSEEN)
        if before is not None:
            seen, new = before.seen, before.new
        self._written[place] = Change(key, body, seen, new and seen is UNSEEN)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Undo what is written within the context where that is left by an exception."""
        self._undo.clear()
        try:
            yield
        except BaseException:
            for place, change in reversed(self._undo):
                if change is None:
                    del self._written[place]
                else:
                    self._written[place] = change
            raise

    async def commit(self) -> bool:
        """Apply all that was written; False, and nothing is, where others changed what it rests on."""
        if self._outdated:
            return False
        changes: dict[str, list[Change]] = {}
        for (name, _), change in self._written.items():
            changes.setdefault(name, []).append(change)
        reads: dict[str, dict[str, bytes | None]] = {}
        revisions = {name: revision for name, revision in self._revisions.items() if revision is not None}
        for name, key in self._seen if self._repeatable else self._required:
            if name not in revisions and (name, key) in self._seen and (name, key) not in self._written:
                reads.setdefault(name, {})[key] = self._seen[name, key]
        if not changes and not reads and not revisions:
            return True
        return await self._database.commit(Commit(self._known, changes, reads, revisions))


def encode_document(document: Document, largest: int) -> bytes:
    """Return the stored form of a document; raises `InvalidDocument` where it is too large or cannot be stored."""
    body = encode(document)
    if len(body) > largest:
        raise InvalidDocument(f"document {document['_id']!r}: has {len(body)} bytes, the store takes {largest}")
    return body


def _searches(clause: Clause) -> bool:
    if isinstance(clause, And | Or):
        return any(map(_searches, clause.clauses))
    return isinstance(clause, Text) or (isinstance(clause, Not) and _searches(clause.clause))


def _with_paths(clause: Clause, paths: tuple[tuple[str, ...], ...]) -> Clause:
    if isinstance(clause, And | Or):
        return clause.__class__(tuple(_with_paths(each, paths) for each in clause.clauses))
    if isinstance(clause, Not):
        return Not(_with_paths(clause.clause, paths))
    return msgspec.structs.replace(clause, paths=paths) if isinstance(clause, Text) else clause
