"""What stores of documents are measured beside: each database's own driver as one would use it by hand, and a mapper.

By hand a document of Redis is JSON in a hash, and in a set for each value of the field by which it is found; in Neo4j
it is a node, whose properties are its fields and, as a property is no object, those of its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
from beanie import Document as BeanieDocument
from beanie import init_beanie
from neo4j import AsyncGraphDatabase, RoutingControl
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from redis.asyncio import Redis
from store_peers import BULK, NAME, PIPELINE, Calls, Row, Way

from tests.services.neo4j import PASSWORD, USER

_SAFE: dict[str, Any] = {"w": "majority", "journal": True, "readConcernLevel": "majority", "timeoutMS": 10_000}
"""What MongoDB has to be told for what our store promises."""

# Drivers


def with_pymongo(*, atomic: bool) -> Way:
    """Return the way through PyMongo, with a majority's confirmation of what is written, and of what is read.

    Of many documents it inserts all or none, as our store does, which takes a transaction; or each on its own.
    """

    @asynccontextmanager
    async def way(url: str) -> AsyncIterator[Calls]:
        client: AsyncMongoClient[Row] = AsyncMongoClient(url, **_SAFE)
        things = client[f"b{uuid4().hex[:8]}"][NAME]
        await things.create_index("group")

        def into(collection: AsyncCollection[Row]) -> Callable[[list[Row]], Awaitable[object]]:
            async def insert_all(rows: list[Row]) -> None:
                async with client.start_session() as session, await session.start_transaction():
                    await collection.insert_many(rows, session=session)

            return insert_all if atomic else collection.insert_many

        async def aggregate() -> list[Any]:
            return await (await things.aggregate(PIPELINE)).to_list(None)

        yield Calls(
            lambda row: things.insert_one(dict(row)),
            into(things),
            into(things.database[BULK]),
            lambda key: things.find_one({"_id": key}),
            lambda group: things.find({"group": group}).to_list(None),
            aggregate,
        )
        await client.drop_database(things.database.name)
        await client.close()

    return way


@asynccontextmanager
async def with_redis(url: str) -> AsyncIterator[Calls]:
    """Keep documents through redis-py; all that belongs together is one transaction."""
    encode, decode = msgspec.json.encode, msgspec.json.decode
    client = Redis.from_url(url, protocol=2, socket_timeout=60)
    things, bulk = (f"{name}{uuid4().hex}" for name in (NAME, BULK))

    async def insert_many(rows: list[Row]) -> None:
        async with client.pipeline(transaction=True) as pipe:
            for row in rows:
                pipe.hsetnx(things, row["_id"], encode(row))
                pipe.sadd(f"{things}:{row['group']}", row["_id"])
            await pipe.execute()

    async def insert_bulk(rows: list[Row]) -> None:
        async with client.pipeline(transaction=True) as pipe:
            for row in rows:
                pipe.hsetnx(bulk, row["_id"], encode(row))
            await pipe.execute()

    async def get(key: str) -> object:
        return decode(await client.hget(things, key))

    async def find(group: str) -> list[Any]:
        return [decode(body) for body in await client.hmget(things, list(await client.smembers(f"{things}:{group}")))]

    async def aggregate() -> list[Any]:
        groups: dict[str, Row] = {}
        for row in map(decode, await client.hvals(things)):
            group = groups.setdefault(row["kind"], {"_id": row["kind"], "n": 0, "v": 0})
            group["n"] += 1
            group["v"] += row["value"]
        return list(groups.values())

    yield Calls(lambda row: insert_many([row]), insert_many, insert_bulk, get, find, aggregate)
    await client.flushdb()
    await client.aclose()


@asynccontextmanager
async def with_neo4j(url: str) -> AsyncIterator[Calls]:
    """Keep documents as nodes, by the driver's `execute_query`, which its manual has one use."""
    label = f"Things{uuid4().hex[:8]}"
    driver = AsyncGraphDatabase.driver(url, auth=(USER, PASSWORD))

    async def write(cypher: str, **parameters: Any) -> None:
        await driver.execute_query(cypher, parameters, database_="neo4j")

    async def read(cypher: str, **parameters: Any) -> list[Any]:
        found = await driver.execute_query(cypher, parameters, database_="neo4j", routing_=RoutingControl.READ)
        return found.records

    for each in (label, f"{label}Bulk"):
        await write(f"CREATE CONSTRAINT {each} FOR (t:{each}) REQUIRE t._id IS UNIQUE")
    await write(f"CREATE INDEX {label}Group FOR (t:{label}) ON (t.group)")
    await write("CALL db.awaitIndexes()")

    def into(label: str) -> Callable[[list[Row]], Awaitable[object]]:
        cypher = f"UNWIND $rows AS row CREATE (t:{label}) SET t = row"
        return lambda rows: write(cypher, rows=list(map(_flat, rows)))

    async def get(key: str) -> object:
        (found,) = await read(f"MATCH (t:{label} {{_id: $key}}) RETURN properties(t)", key=key)
        return _nested(found[0])

    async def find(group: str) -> list[Any]:
        found = await read(f"MATCH (t:{label} {{group: $group}}) RETURN properties(t)", group=group)
        return [_nested(record[0]) for record in found]

    async def aggregate() -> list[Any]:
        found = await read(f"MATCH (t:{label}) RETURN t.kind AS _id, count(*) AS n, sum(t.value) AS v")
        return [record.data() for record in found]

    insert = f"CREATE (t:{label}) SET t = $row"
    yield Calls(lambda row: write(insert, row=_flat(row)), into(label), into(f"{label}Bulk"), get, find, aggregate)
    for each in (label, f"{label}Bulk"):
        await write(f"DROP CONSTRAINT {each}")
    await driver.close()


def _flat(row: Row) -> Row:
    flat = {name: value for name, value in row.items() if name != "place"}
    flat.update((f"place.{name}", value) for name, value in row["place"].items())
    return flat


def _nested(properties: Row) -> Row:
    row: Row = {"place": {}}
    for name, value in properties.items():
        if name.startswith("place."):
            row["place"][name[6:]] = value
        else:
            row[name] = value
    return row


# A mapper


class MappedBulk(BeanieDocument):
    """A document that Beanie maps."""

    id: str  # type: ignore[assignment] # ours are strings
    group: str
    kind: str
    value: int
    name: str
    tags: list[str]
    place: dict[str, Any]

    class Settings:
        """Where they lie."""

        name = BULK


class MappedThing(MappedBulk):
    """One in a collection with an index."""

    class Settings:
        """Where they lie, and over what there is an index."""

        name = NAME
        indexes = ("group",)


@asynccontextmanager
async def with_beanie(url: str) -> AsyncIterator[Calls]:
    """Keep documents as Beanie's models."""
    client: AsyncMongoClient[Row] = AsyncMongoClient(url, **_SAFE)
    database = client[f"b{uuid4().hex[:8]}"]
    await init_beanie(database=database, document_models=[MappedThing, MappedBulk])

    def model(row: Row) -> MappedThing:
        return MappedThing(**row)

    yield Calls(
        lambda row: MappedThing.insert_one(model(row)),
        lambda rows: MappedThing.insert_many([model(row) for row in rows]),
        lambda rows: MappedBulk.insert_many([MappedBulk(**row) for row in rows]),
        MappedThing.get,
        lambda group: MappedThing.find(MappedThing.group == group).to_list(),
        lambda: MappedThing.aggregate(PIPELINE).to_list(),
    )
    await client.drop_database(database.name)
    await client.close()
