"""What `Records` promises, in terms of reading from a snapshot and changing in the writer's thread."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import apsw

from aats_core.query import Clause, Context
from aats_core.storage.operations import CheckedRecords, Updating
from aats_core.storage.queries import Beginning, Order
from aats_core.store import Document, UpdateResult
from aats_store_sqlite import reading
from aats_store_sqlite.catalog import Collection
from aats_store_sqlite.codec import encode
from aats_store_sqlite.identity import id_key
from aats_store_sqlite.queries import Query
from aats_store_sqlite.session import Step

T = TypeVar("T")
Others: TypeAlias = Callable[[str], Collection | None]
Read: TypeAlias = Callable[[apsw.Connection, Collection | None, Others], T]


class Operations(CheckedRecords[Query]):
    """Operations on documents; a subclass says where they run."""

    @abstractmethod
    async def _read(self, name: str, read: Read[T]) -> T:
        """Return what a function reads from one snapshot."""

    @abstractmethod
    async def _change(self, step: Step) -> Any:
        """Return what a step in the writer's thread returns; where it raises, it has changed nothing."""

    async def _insert(self, name: str, documents: Sequence[Document]) -> None:
        rows = [part for document in documents for part in (id_key(document["_id"]), encode(document))]
        await self._change(lambda session: session.insert(name, rows))

    async def _find(self, name: str, query: Query, order: Order, limit: int | None, skip: int) -> list[Document]:
        return await self._read(
            name,
            lambda connection, known, _: reading.find(connection, known, query, order=order, limit=limit, skip=skip),
        )

    async def _update(self, name: str, updating: Updating[Query]) -> UpdateResult:
        result: UpdateResult = await self._change(lambda session: session.update(name, updating))
        return result

    async def _delete(self, name: str, query: Query) -> int:
        number: int = await self._change(lambda session: session.delete(name, query))
        return number

    async def _count(self, name: str, query: Query) -> int:
        return await self._read(name, lambda connection, known, _: reading.count(connection, known, query))

    async def _aggregate(self, name: str, begin: Beginning[Query]) -> list[Document]:
        def read(connection: apsw.Connection, known: Collection | None, others: Others) -> list[Document]:
            def look_up(other: str, clause: Clause) -> list[Document]:
                return reading.find(connection, others(other), self._queries.of_clause(clause))

            return reading.aggregate(connection, known, begin, Context(self._now(), look_up))

        return await self._read(name, read)
