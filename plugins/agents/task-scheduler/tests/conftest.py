"""What the tests of the task scheduler share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from aats_core.errors import StoreUnavailable
from aats_core.store import Document, Filter, Put, Records, RecordStore, Schema, UpdateResult, Write


class KeptRecords(RecordStore):
    """Keeps whole documents in memory; set `down` to have every call fail, `hangs` to have it never return."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[Any, Document]] = {}
        self.schemas: dict[str, Schema] = {}
        self.commits = 0
        self.down = False
        self.hangs = False

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailable("the store is away")

    async def write(self, operations: Sequence[Write]) -> None:
        await self._answer()
        self.commits += 1
        for operation in operations:
            assert isinstance(operation, Put)
            self.collections.setdefault(operation.collection, {})[operation.document["_id"]] = operation.document

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
        await self._answer()
        assert not filter
        assert not projection
        found = list(self.collections.get(collection, {}).values())
        for field, direction in (sort or {}).items():
            found.sort(key=lambda document: document[field], reverse=direction < 0)
        return found[skip:][:limit]

    async def ensure(self, collection: str, schema: Schema) -> None:
        await self._answer()
        self.schemas[collection] = schema

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        raise NotImplementedError

    async def update(
        self,
        collection: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        upsert: bool = False,
        limit: int | None = None,
    ) -> UpdateResult:
        raise NotImplementedError

    async def delete(self, collection: str, filter: Filter) -> int:
        raise NotImplementedError

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        raise NotImplementedError

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        raise NotImplementedError

    def transaction(self) -> AbstractAsyncContextManager[Records]:
        raise NotImplementedError


@pytest.fixture
def records() -> KeptRecords:
    return KeptRecords()
