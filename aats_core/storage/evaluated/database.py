"""What a database does for records whose queries are evaluated here: it keeps texts under keys, and commits changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec

from aats_core.errors import DuplicateKey
from aats_core.query import Clause
from aats_core.storage.collection import KnownCollection
from aats_core.storage.evaluated.codec import decode
from aats_core.store import Index, Schema


class _Unseen(Enum):
    UNSEEN = "unseen"


UNSEEN: Final = _Unseen.UNSEEN
"""Stands for what nobody has looked at."""

Seen = bytes | None | _Unseen
"""The stored form that was read of a document, None where there was none, or `UNSEEN`."""


Stored: TypeAlias = tuple[str, bytes]
"""A document as it lies in the database: its key and its stored form."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """What becomes of one document: `body` is its new stored form, None where it is deleted.

    With `new` there must be none before, or else its `_id` is taken; otherwise there must be what was `seen`.
    """

    key: str
    body: bytes | None
    seen: Seen = UNSEEN
    new: bool = False


class Commit(msgspec.Struct, frozen=True):
    """What is applied in one step, or not at all.

    `changes` and `reads` are by the names of collections; `collections` holds all of these as they were known.
    `reads` says what documents, beside those that change, must still be; `revisions` of which collections nothing at
    all may have changed since.
    """

    collections: Mapping[str, KnownCollection]
    changes: Mapping[str, Sequence[Change]]
    reads: Mapping[str, Mapping[str, bytes | None]]
    revisions: Mapping[str, Any]


class Database(ABC):
    """Keeps the stored forms of documents under their keys.

    Its methods raise errors of the kernel: `StoreUnavailable` where no answer came in time, and so on.
    """

    timeout: float
    """Seconds for which a change may be tried again because of others."""

    largest: int
    """Bytes that a stored form may have."""

    @abstractmethod
    async def collection(self, name: str, *, fresh: bool = False) -> KnownCollection:
        """Return a collection and its schema, an empty one where nobody made it; looked up again where `fresh`."""

    @abstractmethod
    async def fetch(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the stored forms under those keys."""

    @abstractmethod
    def candidates(self, collection: KnownCollection, clause: Clause) -> AsyncGenerator[Sequence[Stored], None]:
        """Yield, some at a time, the documents that may match, and perhaps others; one may come more than once."""

    @abstractmethod
    async def commit(self, commit: Commit) -> bool:
        """Apply it, durably; False, and nothing is applied, where somebody changed a document or a schema meanwhile.

        Raises `DuplicateKey` (`taken_id`, `taken_values`) where a new document is there already, or another one holds
        a unique value (`keys.claims_of`) that one of these gets.
        """

    @abstractmethod
    async def ensure(self, name: str, schema: Schema) -> None:
        """Make the collection and what it lacks of a schema that was checked."""

    async def size(self, name: str) -> int | None:
        """Return how many documents a collection holds; None where they have to be counted."""
        del name
        return None

    async def revision(self, collection: KnownCollection) -> Any:
        """Return what is another one after each commit that changes a collection; None where it has no such thing."""
        del collection
        return None


def taken_id(name: str, body: bytes) -> DuplicateKey:
    """Return the error for a new document whose `_id` there is already."""
    return DuplicateKey(f"{name}: there is a document with the _id {decode(body)['_id']!r} already")


def taken_values(name: str, index: Index) -> DuplicateKey:
    """Return the error for a document whose values in a unique index another one has."""
    return DuplicateKey(f"{name}: another document has the same {', '.join(index.fields)}")
