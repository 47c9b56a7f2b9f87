"""Collections in Redis: hashes of documents and sorted sets of what is indexed, changed by one script at a time.

All keys of a namespace have it as their hash tag, so that one script reaches every collection, in a cluster too.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from aats_core.errors import Conflict, DuplicateKey
from aats_core.query import Clause
from aats_core.storage.collection import KnownCollection, extended
from aats_core.storage.evaluated import UNSEEN, Change, Commit, Database, Seen, Stored, taken_id, taken_values
from aats_core.storage.evaluated.codec import decode
from aats_core.storage.evaluated.keys import claims_of
from aats_core.storage.evaluated.narrowing import Range, entries_of, ranges_for
from aats_core.store import Schema
from aats_store_redis.link import Link
from aats_store_redis.scripts import Word, script
from aats_store_redis.settings import RedisSettings

log = logging.getLogger("aats.store.redis")

_BATCH, _LARGEST_BATCH = 1000, 10_000
"""Documents that are read at a time, and how many of them where they are small."""

_BATCH_BYTES = 2**20
"""Up to here they are small."""

_SAMPLE = 10
"""Documents by which it is found out how large they are."""

_SMALL_COLLECTION = 4 * 2**20
"""Bytes that are read at once: the server hands them over faster than a part of them at a time."""

_PART = 500
"""Documents that are looked at together: of more, the first would have left the processor's cache."""

_pack = msgspec.msgpack.Encoder().encode


class _Description(msgspec.Struct):
    """What is written of a collection; `building` are the numbers of indexes that do not hold all documents yet."""

    schema: Schema
    building: list[int] = []


class RedisCollection(KnownCollection, frozen=True, eq=False, dict=True):
    """A collection, the number of the change of its schema that made it so, and its indexes that are being built."""

    generation: int = 0
    building: tuple[int, ...] = ()


class RedisDatabase(Database):
    """The documents of one namespace."""

    def __init__(self, link: Link, settings: RedisSettings, namespace: str) -> None:
        self.timeout = settings.timeout
        self.largest = settings.max_document_bytes
        self._link = link
        self._slow = settings.slow
        self._root = f"aats:{{{namespace}}}:"
        self._known: dict[str, RedisCollection] = {}

    # Collections

    async def collection(self, name: str, *, fresh: bool = False) -> RedisCollection:
        """Return a collection as it was seen last, or as it is."""
        known = self._known.get(name)
        if known is None or fresh:
            command = ("HGET", f"{self._root}c", name)
            generation, description = await asyncio.gather(
                self._ask("HGET", f"{self._root}g", name, repeat=True), self._ask(*command, repeat=True)
            )
            known = self._known[name] = _collection(name, int(generation or 0), description)
        return known

    async def expiring(self) -> list[str]:
        """Return the names of collections whose documents expire."""
        found = await self._ask("HGETALL", f"{self._root}c", repeat=True)
        names = (name.decode() for name in found[::2])
        return [name for name, text in zip(names, found[1::2], strict=True) if _collection(name, 0, text).expiries]

    async def time(self) -> datetime:
        """Return the time of the server."""
        seconds, micros = await self._ask("TIME", repeat=True)
        return datetime.fromtimestamp(int(seconds) + int(micros) / 1e6, UTC)

    async def _ask(self, *command: Word, repeat: bool = False) -> Any:
        return await self._link.ask(self._root, *command, repeat=repeat)

    # Reading

    async def fetch(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the stored forms under those keys."""
        documents = f"{self._root}d:{name}"
        if len(keys) == 1:
            return [await self._ask("HGET", documents, keys[0], repeat=True)]
        found: list[bytes | None] = []
        for start in range(0, len(keys), _BATCH):
            found += await self._ask("HMGET", documents, *keys[start : start + _BATCH], repeat=True)
        return found

    async def size(self, name: str) -> int:
        """Return how many documents a collection holds."""
        number: int = await self._ask("HLEN", f"{self._root}d:{name}", repeat=True)
        return number

    async def revision(self, collection: KnownCollection) -> int:
        """Return how many commits have changed a collection."""
        return int(await self._ask("HGET", f"{self._root}r", collection.name, repeat=True) or 0)

    async def candidates(self, collection: KnownCollection, clause: Clause) -> AsyncGenerator[Sequence[Stored], None]:
        """Yield the documents that an index names, or where none helps all of them."""
        assert isinstance(collection, RedisCollection)
        ranges = ranges_for(collection, clause)
        if ranges is not None and any(each.number in collection.building for each in ranges):
            ranges = None
        if ranges == []:
            return
        begun, read = time.monotonic(), 0
        async for batch in self._all(collection) if ranges is None else self._in(collection, ranges):
            read += len(batch)
            yield batch
        took = time.monotonic() - begun
        if took > self._slow:
            plan = f"parts of index {sorted({each.number for each in ranges})}" if ranges else "all documents"
            log.warning("%s: a search took %.3f s: it read %s, %d of them", collection.name, took, plan, read)

    async def _all(self, collection: KnownCollection) -> AsyncIterator[list[Stored]]:
        """Yield all documents: those of a small collection are read at once, of others some at a time."""
        documents = f"{self._root}d:{collection.name}"
        number, (cursor, found) = await asyncio.gather(
            self._ask("HLEN", documents, repeat=True), self._scan(documents, b"0", _SAMPLE)
        )
        if cursor != b"0" and number * _size(found) <= _SMALL_COLLECTION:
            cursor, found = b"0", await self._ask("HGETALL", documents, repeat=True)
        while True:
            for at in range(0, len(found), 2 * _PART):
                part = found[at : at + 2 * _PART]
                yield list(zip(map(bytes.decode, part[::2]), part[1::2], strict=True))
            if cursor == b"0":
                return
            count = max(_BATCH, min(_LARGEST_BATCH, _BATCH_BYTES // _size(found)))
            cursor, found = await self._scan(documents, cursor, count)

    async def _scan(self, documents: str, cursor: bytes, count: int) -> tuple[bytes, list[bytes]]:
        """Return about so many keys and documents, and where to go on."""
        page: tuple[bytes, list[bytes]] = await self._ask("HSCAN", documents, cursor, "COUNT", count, repeat=True)
        return page

    async def _in(self, collection: KnownCollection, ranges: Sequence[Range]) -> AsyncIterator[list[Stored]]:
        """Yield what entries in parts of indexes name: all keys are found in one step, most bodies are read later."""
        wanted: list[Word] = []
        for number, low, high in ranges:
            index = collection.schema.indexes[number]
            wanted += (number, 1 if index.text else len(index.fields), low, high)
        found, bodies = await self._link.run(
            script("search", "no-writes"), self._root, collection.name, _BATCH, *wanted, repeat=True
        )
        keys = [key.decode() for key in found]
        yield [(key, body) for key, body in zip(keys, bodies, strict=False) if body is not None]
        for start in range(len(bodies), len(keys), _BATCH):
            page = keys[start : start + _BATCH]
            bodies = await self.fetch(collection.name, page)
            yield [(key, body) for key, body in zip(page, bodies, strict=True) if body is not None]

    # Changes

    async def commit(self, commit: Commit) -> bool:
        """Apply changes by a script that first looks whether everything is as it was seen."""
        names = [name for name in commit.collections if _concerns(commit, name)]
        arguments: list[Word] = [len(names)]
        for name in names:
            arguments += _section(commit, name)
        only_deletes = all(change.body is None for changes in commit.changes.values() for change in changes)
        apply = script("commit", "allow-oom" if only_deletes else "")
        outcome, *what = await self._link.run(apply, self._root, *arguments)
        if outcome in (b"id", b"values"):
            raise _taken(commit, outcome, *(each.decode() for each in what))
        return bool(outcome == b"ok")

    async def ensure(self, name: str, schema: Schema) -> None:
        """Write down the schema, then make the indexes that are new; a crash meanwhile leaves that to the next time.

        From the first moment on every writer keeps the new indexes; they are searched once they hold all documents.
        """
        until = time.monotonic() + self.timeout
        while True:
            old = await self.collection(name, fresh=True)
            merged = extended(old.schema, schema)
            new = [n for n, each in enumerate(merged.indexes) if each not in old.schema.indexes[n : n + 1]]
            if merged == old.schema and not old.building and old.generation:
                return
            if await self._describe(old, merged, sorted({*old.building, *new}), new):
                begun = await self.collection(name, fresh=True)
                try:
                    built = await self._build(begun)
                except DuplicateKey:
                    await self._describe(begun, old.schema, list(old.building))
                    raise
                if built and await self._describe(begun, merged, []):
                    return
            if time.monotonic() > until:
                raise Conflict(f"{name}: others keep changing the schema; try again")

    async def _describe(
        self, old: RedisCollection, schema: Schema, building: list[int], new: Sequence[int] = ()
    ) -> bool:
        """Replace what is written of a collection, and begin its new indexes; False where somebody else was faster."""
        description = msgspec.json.encode(_Description(schema, building))
        arguments: list[Word] = [old.name, old.generation, old.generation + 1, description, *new]
        done = await self._link.run(script("describe"), self._root, *arguments)
        await self.collection(old.name, fresh=True)
        return bool(done)

    async def _build(self, collection: RedisCollection) -> bool:
        """Write every document once more, with its entries; False where the schema changed meanwhile."""
        if not collection.building:
            return True
        name = collection.name
        async for batch in self._all(collection):
            keys = [key for key, _ in batch]
            done = False
            while not done:
                bodies = zip(keys, await self.fetch(name, keys), strict=True)
                changes = [Change(key, body, body) for key, body in bodies if body is not None]
                done = not changes or await self.commit(Commit({name: collection}, {name: changes}, {}, {}))
                if not done and (await self.collection(name, fresh=True)).generation != collection.generation:
                    return False
        return True


def _collection(name: str, generation: int, description: bytes | None) -> RedisCollection:
    if description is None:
        return RedisCollection(0, name, Schema(), generation)
    found = msgspec.json.decode(description, type=_Description)
    return RedisCollection(0, name, found.schema, generation, tuple(found.building))


def _size(found: Sequence[bytes]) -> int:
    """Return how many bytes a document has among keys and documents in turn, on the average."""
    return max(1, 2 * sum(map(len, found)) // max(1, len(found)))


def _concerns(commit: Commit, name: str) -> bool:
    return bool(commit.changes.get(name) or commit.reads.get(name)) or name in commit.revisions


def _section(commit: Commit, name: str) -> Iterator[Word]:
    """Yield what the script is told of a collection."""
    collection = commit.collections[name]
    assert isinstance(collection, RedisCollection)
    indexed = bool(collection.schema.indexes)
    reads, changes = commit.reads.get(name, {}), commit.changes.get(name, ())
    yield from (name, collection.generation, commit.revisions.get(name, ""), int(indexed), len(reads))
    for key, seen in reads.items():
        yield from (key, _sign(seen))
    yield len(changes)
    for change in changes:
        yield from (change.key, "+" if change.new else _sign(change.seen), change.body or b"")
        if indexed:
            yield _indexed(collection, change.body)


def _indexed(collection: KnownCollection, body: bytes | None) -> bytes:
    """Return what a document holds in unique indexes and has in all, as the script takes it."""
    if body is None:
        return b""
    document = decode(body)
    return _pack([claims_of(collection, document), *entries_of(collection, document)])


def _sign(seen: Seen) -> str:
    if seen is UNSEEN:
        return "*"
    return "-" if seen is None else f"={hashlib.sha1(seen, usedforsecurity=False).hexdigest()}"


def _taken(commit: Commit, outcome: bytes, name: str, what: str) -> DuplicateKey:
    if outcome == b"values":
        number = int(what.partition(":")[0])
        return taken_values(name, commit.collections[name].schema.indexes[number])
    body = next(each.body for each in commit.changes[name] if each.key == what)
    return taken_id(name, body or b"{}")
