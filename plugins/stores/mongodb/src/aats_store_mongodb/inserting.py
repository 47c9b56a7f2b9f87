"""New documents, many at a time: each is encoded once, as it is when it is passed, and a command takes all it can hold.

The driver's `insert_many` keeps no document as it was, and takes longer for its own part than encoding takes.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, NoReturn

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, DocumentTooLarge

from aats_core.message import new_id
from aats_core.query.values import MAX_DEPTH
from aats_core.store import Document
from aats_store_mongodb.queries import complete
from aats_store_mongodb.wire import CODEC

_MOST = 100_000
"""Documents in a command, of which the server takes no more."""
_LARGEST = 16 * 1024 * 1024
"""Bytes of a document, and of all documents in a command, of which the driver sends little more."""

_AROUND = 7
"""Bytes of an object, or of an array, beside what it holds."""
_OBJECT, _ARRAY = 3, 4
"""What stands before an object and an array, in BSON."""


class Body(RawBSONDocument):
    """A document as it is sent, which nobody looks into."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes | memoryview, _: object) -> None:
        self.raw = raw  # type: ignore[misc] # a property of the driver's, in whose place there is a slot here


_BODIES = CODEC.with_options(document_class=Body)
_ALL = "all"


class _Found(Exception):
    """There is an object of a type that is not built in, perhaps of one derived from those."""


class _Look(pickle.Pickler):
    """Looks for such objects, which a pickler asks about, and sooner than any loop would find them."""

    def reducer_override(self, _: object) -> NoReturn:
        raise _Found


def _look(documents: Sequence[Document]) -> None:
    look = _Look(BytesIO())
    look.fast = True  # it remembers none
    look.dump(documents)


class New:
    """New documents: what they are and how they are sent; raises `InvalidDocument` where one cannot be."""

    __slots__ = ("_bodies", "documents")

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = list(documents)
        bodies = self._plain() if {*map(type, documents)} == {dict} else None
        if bodies is None:
            self.documents = [complete(document) for document in documents]
            bodies = _encoded(self.documents)
        self._bodies = bodies

    @property
    def ids(self) -> list[Any]:
        """Their `_id`s."""
        return [document["_id"] for document in self.documents]

    def _plain(self) -> list[Body] | None:
        """Return them as they are sent; None where one may hold what has another form there, or is no value.

        Of the built-in types the encoder for BSON refuses those that are no values; all others have to be found.
        """
        self.documents = [each if "_id" in each else {"_id": new_id(), **each} for each in self.documents]
        try:
            _look(self.documents)
            bodies = _encoded(self.documents)
        except (_Found, ValueError, OverflowError, RecursionError, BSONError):
            return None
        for document, body in zip(self.documents, bodies, strict=True):
            if len(body.raw) > _AROUND * MAX_DEPTH and _is_perhaps_deep(bytes(body.raw)):
                complete(document)
        return bodies

    async def send(self, target: Any, session: Any) -> None:
        """Write them to a collection in a transaction; raises the driver's errors."""
        for batch in self._batches():
            command = {"insert": target.name, "documents": batch}
            done = await target.database.command(command, session=session, codec_options=CODEC)
            if "writeErrors" in done:
                raise BulkWriteError(done)

    def _batches(self) -> Iterator[Sequence[Body]]:
        begin, size = 0, 0
        for number, body in enumerate(self._bodies):
            length = len(body.raw)
            if length > _LARGEST:
                raise DocumentTooLarge(f"it has {length} bytes")
            if size + length > _LARGEST or number - begin == _MOST:
                yield self._bodies[begin:number]
                begin, size = number, 0
            size += length
        yield self._bodies[begin:]


def _is_perhaps_deep(raw: bytes) -> bool:
    return raw.count(_OBJECT) + raw.count(_ARRAY) > MAX_DEPTH


def _encoded(documents: Sequence[Document]) -> list[Body]:
    whole = bson.encode({_ALL: documents}, codec_options=CODEC)
    bodies: list[Body] = RawBSONDocument(whole, _BODIES)[_ALL]
    return bodies
