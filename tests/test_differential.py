"""Every record store answers as a real mongod does, which is asked past all that the stores do themselves."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aats_store_mongodb import MongoStore
from aats_store_mongodb.failures import translated
from aats_store_mongodb.wire import CODEC, restored, sendable
from aats_store_neo4j import Neo4jStore
from aats_store_postgres import PostgresStore
from aats_store_redis import RedisStore
from aats_store_sqlite import SqliteStore
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from aats_core.store import Document, Filter, Records, RecordStore, Store, UpdateResult
from aats_core.testing.differential import DifferentialContract
from tests.services import MongoServer, Neo4jServer, PostgresServer, RedisServer
from tests.services.neo4j import PASSWORD as NEO4J_PASSWORD

DATABASE = f"aats_differential_{os.getpid()}"

pytestmark = pytest.mark.timeout(300 + 0.2 * DifferentialContract.operations)


class Mongod(Records):
    """What mongod itself makes of operations as they are written."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._database = client.get_database(DATABASE, codec_options=CODEC)

    async def insert(self, collection: str, *documents: Document) -> list[Any]:
        with translated(collection, writing=True):
            async with self._client.start_session() as session, await session.start_transaction():
                await self._database[collection].insert_many(list(documents), session=session)
        return [document["_id"] for document in documents]

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
        options = {"sort": list(sort.items())} if sort else {}
        with translated(collection):
            cursor = self._database[collection].find(
                sendable(filter or {}), projection, limit=limit or 0, skip=skip, **options
            )
            return restored(await cursor.to_list())

    async def update(
        self,
        collection: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        upsert: bool = False,
        limit: int | None = None,
    ) -> UpdateResult:
        with translated(collection):
            async with self._client.start_session() as session, await session.start_transaction():
                done = await self._database[collection].update_many(
                    sendable(filter), sendable(update), upsert=upsert, session=session
                )
        made = done.upserted_id is not None
        return UpdateResult(0 if made else done.matched_count, done.modified_count, restored(done.upserted_id))

    async def delete(self, collection: str, filter: Filter) -> int:
        with translated(collection):
            return (await self._database[collection].delete_many(sendable(filter))).deleted_count

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        with translated(collection):
            return restored(await (await self._database[collection].aggregate(sendable(pipeline))).to_list())

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        with translated(collection):
            return await self._database[collection].count_documents(sendable(filter or {}))


class AgainstMongod(DifferentialContract):
    @pytest.fixture(autouse=True)
    def _server(self, service, tmp_path):
        self.url = service(MongoServer).url
        self.info = TeamInfo(state_dir=tmp_path)

    @asynccontextmanager
    async def open_reference(self) -> AsyncIterator[Records]:
        async with AsyncMongoClient(self.url, w="majority") as client:
            yield Mongod(client)
            await client.drop_database(DATABASE)

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Records]:
        store = self.make_store()
        await store.connect()
        try:
            (records,) = (each for each in store.capabilities if isinstance(each, RecordStore))
            yield records
        finally:
            await store.close()

    def make_store(self) -> Store:
        raise NotImplementedError


class TestSqlite(AgainstMongod):
    def make_store(self) -> Store:
        return SqliteStore(SqliteStore.Settings(path=Path("store.db")), self.info, RealClock())


class TestMongodb(AgainstMongod):
    def make_store(self) -> Store:
        return MongoStore(MongoStore.Settings(url=self.url, database=DATABASE), self.info, RealClock())


class TestPostgres(AgainstMongod):
    @pytest.fixture(autouse=True)
    def _postgres(self, service):
        self.dsn = service(PostgresServer).url

    def make_store(self) -> Store:
        return PostgresStore(PostgresStore.Settings(dsn=self.dsn), self.info, RealClock())


class TestNeo4j(AgainstMongod):
    @pytest.fixture(autouse=True)
    def _neo4j(self, service):
        self.uri = service(Neo4jServer).url

    def make_store(self) -> Store:
        settings = Neo4jStore.Settings(uri=self.uri, password=SecretStr(NEO4J_PASSWORD), timeout=60.0)
        return Neo4jStore(settings, self.info, RealClock())


class TestRedis(AgainstMongod):
    @pytest.fixture(autouse=True)
    def _redis(self, service):
        self.server = service(RedisServer).url

    def make_store(self) -> Store:
        return RedisStore(RedisStore.Settings(servers=[self.server]), self.info, RealClock())
