"""What `Records` promises, on its own and within a transaction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from aats_core.query import parse_pipeline
from aats_core.store import Document, Filter, Records, UpdateResult
from aats_store_mongodb import wire
from aats_store_mongodb.database import Database
from aats_store_mongodb.failures import translated
from aats_store_mongodb.inserting import New
from aats_store_mongodb.queries import (
    checked_filter,
    checked_options,
    checked_page,
    checked_update,
    complete,
    one_id,
)
from aats_store_mongodb.wire import restored

T = TypeVar("T")


class Operations(Records):
    """Operations on documents; a subclass says in which session they run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @abstractmethod
    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what a read returns, given the session or None."""

    @abstractmethod
    async def _change(self, name: str, work: Callable[[Any], Awaitable[T]], *, single: bool) -> T:
        """Return what a change returns, given the session or None; where it raises, it has changed nothing.

        `single` says that it changes one document at most.
        """

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        """Write new documents, all or none, and return their ids."""
        target = self._database.collection(collection)
        if len(documents) == 1:
            sent = complete(documents[0])
            await self._database.validators.check(collection, [sent])
            await self._add(collection, lambda session: target.insert_one(sent, session=session), single=True)
            return [sent["_id"]]
        if not documents:
            return []
        with translated(collection, writing=True):
            new = New(documents)
        await self._database.validators.check(collection, new.documents)
        await self._add(collection, lambda session: new.send(target, session), single=False)
        return new.ids

    async def _add(self, collection: str, work: Callable[[Any], Awaitable[object]], *, single: bool) -> None:
        with self._database.call(collection, {"insert": self._database.full_name(collection)}, writing=True):
            await self._change(collection, work, single=single)

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
        """Return the documents that match, in the order of `sort`."""
        source, wanted = self._database.collection(collection), checked_filter(filter)
        options = checked_options(projection, sort, limit, skip)
        if limit == 0:
            return []

        async def work(session: Any) -> list[Document]:
            found: list[Document] = restored(await source.find(wanted, session=session, **options).to_list(None))
            return found

        with self._database.call(collection, {"find": source.name, "filter": wanted, **_as_sent(options)}):
            return await self._read(work)

    async def update(
        self,
        collection: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        upsert: bool = False,
        limit: int | None = None,
    ) -> UpdateResult:
        """Change every document that matches."""
        target, wanted = self._database.collection(collection), checked_filter(filter)
        checked_page(limit, 0)
        changes = checked_update(filter, update, upsert=upsert)

        async def work(session: Any) -> UpdateResult:
            change = target.update_one if limit == 1 else target.update_many
            narrowed = wanted if limit in (None, 1) else await self._first(target, wanted, limit, session)
            done = await change(narrowed, changes, upsert=upsert, session=session)
            made = done.upserted_id is not None
            return UpdateResult(0 if made else done.matched_count, done.modified_count, restored(done.upserted_id))

        asked = {"q": wanted, "u": changes, "multi": limit != 1, "upsert": upsert}
        with self._database.call(collection, {"update": target.name, "updates": [asked]}):
            return await self._change(collection, work, single=limit == 1 or one_id(wanted))

    async def _first(self, target: Any, wanted: dict[str, Any], limit: int, session: Any) -> dict[str, Any]:
        """Return a filter for no more than so many of the documents that match."""
        found = await target.find(wanted, projection={"_id": 1}, limit=limit, session=session).to_list(None)
        return {"_id": {"$in": [document["_id"] for document in found[:limit]]}}

    async def delete(self, collection: str, filter: Filter) -> int:
        """Delete every document that matches and return how many there were."""
        target, wanted = self._database.collection(collection), checked_filter(filter)

        async def work(session: Any) -> int:
            number: int = (await target.delete_many(wanted, session=session)).deleted_count
            return number

        with self._database.call(collection, {"delete": target.name, "deletes": [{"q": wanted, "limit": 0}]}):
            return await self._change(collection, work, single=one_id(wanted))

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Run the documents of a collection through a pipeline of stages and return what comes out."""
        source, database = self._database.collection(collection), self._database
        parse_pipeline(pipeline)
        sent = wire.stages(pipeline, database.full_name)
        with database.call(collection, {"aggregate": source.name, "pipeline": sent, "cursor": {}}):
            return await self._read(lambda session: database.driver.aggregate(source, sent, session))

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """Return how many documents match."""
        source, wanted = self._database.collection(collection), checked_filter(filter)

        async def work(session: Any) -> int:
            number: int = await source.count_documents(wanted, session=session)
            return number

        with self._database.call(collection, {"count": source.name, "query": wanted}):
            return await self._read(work)


def _as_sent(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a `find` as the server takes them."""
    return {name: dict(option) if name == "sort" else option for name, option in options.items()}
