"""Commits: one transaction of the server, in which what it rests on is locked and compared, then changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from neo4j.exceptions import ConstraintError

from aats_core.errors import DuplicateKey
from aats_core.query.search import texts_at
from aats_core.storage.evaluated import UNSEEN, Change, Commit, taken_id, taken_values
from aats_core.storage.evaluated.codec import decode
from aats_core.storage.evaluated.keys import claims_of
from aats_core.store import Document
from aats_store_neo4j.catalog import Collection
from aats_store_neo4j.columns import Insert, inserts
from aats_store_neo4j.layout import CLAIM, COLLECTION, DOCUMENT
from aats_store_neo4j.native import native_values
from aats_store_neo4j.sessions import Sessions, Transaction

_HOLDS = "AATS_HOLDS"
_LONGEST_KEY = 1000
_MOST = 2000
"""Documents that one statement changes."""

_CURRENT = (
    f"OPTIONAL MATCH (c:{COLLECTION} {{`aats:key`: $key}})"
    " WITH coalesce(c.generation, 0) AS generation WHERE generation = $generation"
)
_STALE = (
    f"UNWIND $collections AS row OPTIONAL MATCH (c:{COLLECTION} {{`aats:key`: row.key}})"
    " WITH row, c WHERE coalesce(c.generation, 0) <> row.generation RETURN count(*) AS stale"
)
_CHANGED = (
    f"UNWIND $checks AS row OPTIONAL MATCH (d:{DOCUMENT} {{`aats:key`: row.key}}) SET d.`aats:lock` = true"
    " WITH row, d WHERE (d IS NULL) <> (row.seen IS NULL) OR d.`aats:body` <> row.seen RETURN count(*) AS changed"
)
_WRONG = f"CALL () {{ {_STALE} }} CALL () {{ {_CHANGED} }} RETURN stale + changed"
_DELETE = f"UNWIND $rows AS row MATCH (d:{DOCUMENT} {{`aats:key`: row.key}}) DETACH DELETE d"
_RELEASE = f"UNWIND $rows AS row MATCH (:{DOCUMENT} {{`aats:key`: row.key}})-[:{_HOLDS}]->(c:{CLAIM}) DETACH DELETE c"
_CLAIM = (
    f"UNWIND $rows AS row MATCH (d:{DOCUMENT} {{`aats:key`: row.key}}) UNWIND row.claims AS claim"
    f" CREATE (d)-[:{_HOLDS}]->(:{CLAIM} {{`aats:key`: claim}})"
)
_TAKEN = f"UNWIND $rows AS row MATCH (d:{DOCUMENT} {{`aats:key`: row.key}}) RETURN d.`aats:key`"


class _Changed(Exception):
    """Others changed what the commit rests on."""


class _Taken(Exception):
    """Some of the new documents are there already."""


class _Row(NamedTuple):
    """What becomes of one node."""

    key: str
    change: Change
    values: dict[str, Any]
    claims: list[str]

    @property
    def is_new(self) -> bool:
        """Whether there must be no such node before."""
        return self.change.body is not None and (self.change.new or self.change.seen is None)

    @property
    def held(self) -> dict[str, Any]:
        """The node by its key, with what it holds in unique indexes."""
        return {"key": self.key, "claims": self.claims}


async def apply(sessions: Sessions, commit: Commit) -> bool:
    """Apply a commit, or nothing of it: False where others changed what it rests on, `DuplicateKey` where one is."""
    rows = {
        name: [_row(_known(commit, name), change) for change in changes] for name, changes in commit.changes.items()
    }
    checks = sorted(_checks(commit, rows), key=lambda check: check["key"])
    alone = None if checks else _alone(commit, rows)
    try:
        if alone is not None:
            await _insert(sessions, *alone)
        else:
            await sessions.write(lambda transaction: _change(transaction, commit, rows, checks))
    except _Changed:
        return False
    except _Taken:
        await _tell_taken(sessions, rows)
        return False
    return True


async def _tell_taken(sessions: Sessions, rows: Mapping[str, Sequence[_Row]]) -> None:
    """Raise `DuplicateKey` for a document that has to be new and is there, if it still is."""
    new = [(name, row) for name, each in rows.items() for row in each if row.change.new and row.is_new]
    found = {row[0] for row in await sessions.read(_TAKEN, rows=[{"key": row.key} for _, row in new])}
    for name, row in new:
        if row.key in found and row.change.body is not None:
            raise taken_id(name, row.change.body)


def _as_known(collection: Any) -> Collection:
    known: Collection = collection
    return known


def _known(commit: Commit, name: str) -> Collection:
    return _as_known(commit.collections[name])


def node_key(collection: Collection, key: str) -> str:
    """Return what a document's node is found by; a key that no index could hold becomes a digest of it."""
    if len(key) > _LONGEST_KEY:
        key = f"{key[:100]}#{hashlib.blake2b(key.encode(), digest_size=20).hexdigest()}"
    return f"{collection.key}:{key}"


def _row(collection: Collection, change: Change) -> _Row:
    key = node_key(collection, change.key)
    if change.body is None:
        return _Row(key, change, {}, [])
    document: Document = decode(change.body)
    values = native_values(document)
    values["aats:key"], values["aats:id"], values["aats:body"] = key, change.key, change.body.decode()
    if collection.text_paths:
        words = {word for text in texts_at(document, collection.text_paths) for word in text}
        values["aats:words"] = " ".join([collection.key, *sorted(words)])
    return _Row(key, change, values, [f"{collection.key}:{claim}" for claim in claims_of(collection, document)])


def _checks(commit: Commit, rows: Mapping[str, Sequence[_Row]]) -> Iterator[dict[str, Any]]:
    """Yield what has to be as it was seen."""
    for each in rows.values():
        for row in each:
            if row.change.new and row.change.body is None:
                yield _check(row.key, None)
            elif row.change.seen is not UNSEEN and not row.is_new:
                yield _check(row.key, row.change.seen)
    for name, reads in commit.reads.items():
        for key, seen in reads.items():
            yield _check(node_key(_known(commit, name), key), seen)


def _check(key: str, seen: Any) -> dict[str, Any]:
    return {"key": key, "seen": None if seen is None else seen.decode()}


async def _change(
    transaction: Transaction, commit: Commit, rows: Mapping[str, Sequence[_Row]], checks: Sequence[dict[str, Any]]
) -> None:
    known = map(_as_known, commit.collections.values())
    collections = [{"key": each.key, "generation": each.generation} for each in known]
    if (await transaction.run(_WRONG, collections=collections, checks=checks))[0][0]:
        raise _Changed
    for name, each in rows.items():
        await _write(transaction, _known(commit, name), each)


async def _write(transaction: Transaction, collection: Collection, rows: Sequence[_Row]) -> None:
    """Change the nodes of one collection, in the order of their keys, so that two commits seldom wait in a circle."""
    ordered = sorted(rows, key=lambda row: row.key)
    new = [row for row in ordered if row.is_new]
    kept = [row for row in ordered if row.change.body is not None and not row.is_new]
    gone = [row.held for row in ordered if row.change.body is None]
    if collection.unique:
        await _each(transaction, _RELEASE, [*(row.held for row in kept), *gone])
    await _each(transaction, _DELETE, gone)
    await _each(transaction, _put(collection), [row.values for row in kept])
    try:
        for insert in _inserts(collection, new):
            await transaction.run(insert.cypher, **insert.parameters)
    except ConstraintError as error:
        raise _Taken from error
    await _claim(transaction, collection, [*kept, *new])


def _alone(commit: Commit, rows: Mapping[str, Sequence[_Row]]) -> tuple[Collection, Insert] | None:
    """Return the collection and the insert that are all of a commit; None where there is more to it."""
    each = [row for rows_of_one in rows.values() for row in rows_of_one]
    if len(commit.collections) != 1 or not each or any(row.claims or not row.is_new for row in each):
        return None
    (collection,) = map(_as_known, commit.collections.values())
    made = _inserts(collection, sorted(each, key=lambda row: row.key))
    return (collection, made[0]) if len(made) == 1 else None


async def _insert(sessions: Sessions, collection: Collection, insert: Insert) -> None:
    """Make new nodes by one statement, which also looks whether the collection is what it was."""
    known = {"key": collection.key, "generation": collection.generation}
    try:
        made = await sessions.create(f"{_CURRENT} {insert.cypher}", **known, **insert.parameters)
    except DuplicateKey as error:
        raise _Taken from error
    if made != insert.number:
        raise _Changed


def _inserts(collection: Collection, rows: Sequence[_Row]) -> list[Insert]:
    return inserts(f"{DOCUMENT}:{collection.label}", [row.values for row in rows])


async def _claim(transaction: Transaction, collection: Collection, rows: Sequence[_Row]) -> None:
    """Take the values of unique indexes for nodes."""
    try:
        await _each(transaction, _CLAIM, [row.held for row in rows if row.claims])
    except ConstraintError as error:
        found = re.search(rf"{collection.key}:(\d+):", str(error))
        index = collection.schema.indexes[int(found[1]) if found else collection.unique[0][0]]
        raise taken_values(collection.name, index) from error


def _put(collection: Collection) -> str:
    key = "{`aats:key`: row.`aats:key`}"
    return f"UNWIND $rows AS row MERGE (d:{DOCUMENT} {key}) SET d:{collection.label} SET d = row"


async def _each(transaction: Transaction, statement: str, rows: Sequence[dict[str, Any]]) -> None:
    for at in range(0, len(rows), _MOST):
        await transaction.run(statement, rows=rows[at : at + _MOST])
