"""The ledger of a store: which steps it has been through, when, by whom, and what was begun and is not finished."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from aats_core.errors import Conflict, DuplicateKey, LeaseLost
from aats_core.store import Delete, Insert, Put, Records, RecordStore, Require, Write

LEDGER = "aats_migrations"
POSITIONS = "aats_migration_positions"


class Direction(StrEnum):
    """Which way a step is carried out."""

    UP = "up"
    DOWN = "down"


class Attempt(msgspec.Struct, frozen=True):
    """Something that was begun: a step in one direction, under the token of the lease, and how it failed.

    Attempts that go on from each other have the same `run`.
    """

    direction: Direction
    run: str
    token: int
    by: str
    time: float
    atomic: bool
    error: str = ""


class Entry(msgspec.Struct, frozen=True):
    """What a ledger says of a step: what it came to last, and the attempt that has not been finished since.

    Every change raises `version`, so that a write can require that nobody has changed the entry in between.
    """

    id: str = msgspec.field(name="_id")
    source: str = ""
    applied: bool = False
    checksum: str = ""
    time: float = 0.0
    seconds: float = 0.0
    by: str = ""
    run: str = ""
    attempt: Attempt | None = None
    version: int = 0

    def finish(self, *, checksum: str, now: float) -> Entry:
        """Return the entry once its attempt has come to its end."""
        attempt = self.attempt
        assert attempt is not None, "only what was begun comes to an end"
        return msgspec.structs.replace(
            self,
            applied=attempt.direction is Direction.UP,
            checksum=checksum,
            time=now,
            seconds=round(now - attempt.time, 3),
            by=attempt.by,
            run=attempt.run,
            attempt=None,
        )

    @property
    def unfinished(self) -> bool:
        """Whether something may have been changed by an attempt that came to no end."""
        return self.attempt is not None and not self.attempt.atomic


class Ledger:
    """The ledger of one store."""

    def __init__(self, store: str, records: RecordStore) -> None:
        self.store = store
        self.records = records

    async def entries(self) -> dict[str, Entry]:
        """Return all there is, by the ids of the steps."""
        found = await self.records.find(LEDGER, sort={"_id": 1})
        return {document["_id"]: msgspec.convert(document, Entry) for document in found}

    async def put(self, entry: Entry, *also: Write) -> Entry:
        """Write an entry in the place of the version that it was made from, and return it with its own.

        Raises `Conflict` where somebody changed it in between.
        """
        written = msgspec.structs.replace(entry, version=entry.version + 1)
        try:
            if entry.version == 0:
                await self.records.write([Insert(LEDGER, _document(written)), *also])
            else:
                await self.records.write([unchanged(entry), Put(LEDGER, _document(written)), *also])
        except DuplicateKey as error:
            raise Conflict(f"another process has begun {entry.id} in store {self.store}") from error
        return written

    async def put_within(self, transaction: Records, entry: Entry) -> None:
        """Write an entry as `put` does, as part of a transaction; raises `LeaseLost` where somebody changed it."""
        document = _document(msgspec.structs.replace(entry, version=entry.version + 1))
        del document["_id"]
        changed = await transaction.update(LEDGER, {"_id": entry.id, "version": entry.version}, {"$set": document})
        if not changed.matched:
            raise LeaseLost(f"another process has taken {entry.id} over in store {self.store}")

    async def position(self, entry: Entry, key: str) -> Any:
        """Return how far the run of an attempt is, or None at its beginning."""
        found = await self.records.find(POSITIONS, {"_id": _position_id(entry, key)}, limit=1)
        return found[0]["position"] if found else None

    async def advance(self, entry: Entry, key: str, position: Any, writes: Sequence[Write]) -> None:
        """Apply writes and note how far the run is, together; raises `Conflict` where the attempt is not the last."""
        noted = {"_id": _position_id(entry, key), "step": entry.id, "run": _run(entry), "position": position}
        await self.records.write([unchanged(entry), *writes, Put(POSITIONS, noted)])


def unchanged(entry: Entry) -> Require:
    """Return what makes a write fail where somebody has changed an entry in between."""
    return Require(LEDGER, {"_id": entry.id, "version": entry.version})


def forget_positions(step: str, run: str) -> Delete:
    """Return the write that deletes how far other runs of a step were."""
    return Delete(POSITIONS, {"step": step, "run": {"$ne": run}})


def _document(entry: Entry) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(entry)
    return document


def _position_id(entry: Entry, key: str) -> str:
    return f"{_run(entry)}:{key}"


def _run(entry: Entry) -> str:
    assert entry.attempt is not None, "positions belong to what was begun"
    return entry.attempt.run
