"""What is measured of stores, our way to them, and for SQL databases their drivers as one uses them, and a mapper."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import apsw
import asyncpg
import msgspec
from sqlalchemy import JSON, func, insert, select
from sqlalchemy import Index as SqlIndex
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from aats_core.store import Index, RecordStore, Schema

Row = dict[str, Any]
NAME, BULK = "things", "bulk"
PIPELINE: list[Mapping[str, Any]] = [{"$group": {"_id": "$kind", "n": {"$sum": 1}, "v": {"$sum": "$value"}}}]


class Calls(NamedTuple):
    """One way to a database: the calls that are measured, over documents as `document` makes them."""

    insert: Callable[[Row], Awaitable[object]]
    insert_many: Callable[[list[Row]], Awaitable[object]]
    insert_bulk: Callable[[list[Row]], Awaitable[object]]
    """Into another collection, which has no index beside that of its `_id`s."""
    get: Callable[[str], Awaitable[object]]
    find: Callable[[str], Awaitable[list[Any]]]
    aggregate: Callable[[], Awaitable[list[Any]]]


Way = Callable[[str], Any]
"""Opens a way to the database at a URL: an async context manager that yields its calls over an empty collection."""


def document(number: int) -> Row:
    """Return a document of some 250 bytes; a hundred of them belong to one group, and there are ten kinds."""
    return {
        "_id": f"{uuid4().hex}-{number}",
        "group": f"g{number // 100}",
        "kind": f"kind {number % 10}",
        "value": number,
        "name": f"a thing with the number {number}",
        "tags": ["red", "green", "blue"],
        "place": {"city": "Basel", "street": "Rheingasse", "number": number % 80},
    }


# Ours


def aats(plugin: type[Any], settings: Callable[[str], dict[str, Any]]) -> Way:
    """Return the way through one of our stores, given what its settings have to be for the database at a URL."""

    @asynccontextmanager
    async def way(url: str) -> AsyncIterator[Calls]:
        with tempfile.TemporaryDirectory() as directory:
            info = TeamInfo(namespace=f"b{uuid4().hex[:8]}", state_dir=Path(directory))
            store = plugin(plugin.Settings(**settings(url)), info, RealClock())
            await store.connect()
            records = next(part for part in store.capabilities if isinstance(part, RecordStore))
            await records.ensure(NAME, Schema(indexes=(Index({"group": 1}),)))
            yield Calls(
                lambda row: records.insert(NAME, row),
                lambda rows: records.insert(NAME, *rows),
                lambda rows: records.insert(BULK, *rows),
                lambda key: records.find(NAME, {"_id": key}),
                lambda group: records.find(NAME, {"group": group}),
                lambda: records.aggregate(
                    NAME, [{"$group": {"_id": "$kind", "n": {"$sum": 1}, "v": {"$sum": "$value"}}}]
                ),
            )
            await store.close()

    return way


# Drivers


@asynccontextmanager
async def with_apsw(url: str) -> AsyncIterator[Calls]:
    """Keep documents through SQLite's own functions, in the thread of the caller, who waits meanwhile."""
    del url
    encode, decode = msgspec.json.encode, msgspec.json.decode
    with tempfile.TemporaryDirectory() as directory:
        base = apsw.Connection(f"{directory}/bench.db")
        for sql in (
            *("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"),
            "CREATE TABLE things (id TEXT PRIMARY KEY, doc TEXT NOT NULL)",
            "CREATE TABLE bulk (id TEXT PRIMARY KEY, doc TEXT NOT NULL)",
            "CREATE INDEX things_group ON things (doc ->> '$.group')",
        ):
            base.execute(sql).fetchall()

        async def insert(row: Row) -> None:
            base.execute("INSERT INTO things VALUES (?, ?)", (row["_id"], encode(row).decode()))

        def into(table: str) -> Callable[[list[Row]], Awaitable[object]]:
            async def insert_many(rows: list[Row]) -> None:
                with base:
                    values = [(row["_id"], encode(row).decode()) for row in rows]
                    base.executemany(f"INSERT INTO {table} VALUES (?, ?)", values)

            return insert_many

        async def get(key: str) -> object:
            return decode(base.execute("SELECT doc FROM things WHERE id = ?", (key,)).get)

        async def find(group: str) -> list[Any]:
            return [
                decode(text) for (text,) in base.execute("SELECT doc FROM things WHERE doc ->> '$.group' = ?", (group,))
            ]

        async def aggregate() -> list[Any]:
            sql = "SELECT doc ->> '$.kind', count(*), sum(doc ->> '$.value') FROM things GROUP BY 1"
            return base.execute(sql).fetchall()

        yield Calls(insert, into("things"), into("bulk"), get, find, aggregate)
        base.close()


AS_WRITTEN = "body text NOT NULL, doc jsonb NOT NULL GENERATED ALWAYS AS (body::jsonb) STORED"
"""The columns of our rows: JSONB, which is queried, forgets the order of fields, so what was written is kept beside it.

Whoever keeps documents by hand and wants them back as they were has to write as much. It is the unified call that is
measured beside the driver, not the one form of storage beside the other; that has a row of its own, without a limit.
"""

JSONB_ONLY = "body jsonb NOT NULL"
"""The column of those who can do without the order of fields."""


Encode = Callable[[Row], str]


def as_json(row: Row) -> str:
    """Return a document that is known to hold nothing but JSON: whatever else it held would become a string."""
    return msgspec.json.encode(row).decode()


def as_extended_json(row: Row) -> str:
    """Return a document in which dates, decimals and binary data stay what they are, as our store keeps them.

    That takes a look at each value; msgspec has no hook for what it turns into strings, the encoder of Python has.
    """
    return _encode_any(row)


def _tagged(value: Any) -> Row:
    if isinstance(value, bytes):
        return {"$binary": value.hex()}
    return {"$date": value.isoformat()} if isinstance(value, datetime) else {"$numberDecimal": str(value)}


_encode_any = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_tagged).encode


def with_asyncpg(columns: str, encode: Encode = as_json) -> Way:
    """Return the way through asyncpg, with SQL as one writes it for these documents, which knows their types.

    Its pool does not reset its sessions. Its inserts are given the same documents as ours, and encode them.
    """
    doc = "doc" if columns == AS_WRITTEN else "body"

    class Connection(asyncpg.Connection):  # type: ignore[misc] # it has no types
        def get_reset_query(self) -> str:
            return ""

    @asynccontextmanager
    async def way(url: str) -> AsyncIterator[Calls]:
        table = f"things_{uuid4().hex}"
        pool = await asyncpg.create_pool(url, min_size=1, max_size=10, connection_class=Connection)
        await pool.execute(
            f'CREATE TABLE {table} (id text COLLATE "C" PRIMARY KEY, {columns});'
            f'CREATE TABLE {table}_bulk (id text COLLATE "C" PRIMARY KEY, {columns});'
            f"CREATE INDEX {table}_group ON {table} (({doc} ->> 'group'))"
        )
        yield _by_hand(pool, table, doc, encode)
        await pool.execute(f"DROP TABLE {table}, {table}_bulk")
        await pool.close()

    return way


def _by_hand(pool: Any, table: str, doc: str, encode: Encode) -> Calls:
    decode = msgspec.json.decode

    async def insert(row: Row) -> None:
        await pool.execute(f"INSERT INTO {table} (id, body) VALUES ($1, $2)", row["_id"], encode(row))

    def into(table: str) -> Callable[[list[Row]], Awaitable[object]]:
        async def insert_many(rows: list[Row]) -> None:
            records = [(row["_id"], encode(row)) for row in rows]
            await pool.copy_records_to_table(table, records=records, columns=("id", "body"))

        return insert_many

    async def get(key: str) -> object:
        return decode(await pool.fetchval(f"SELECT body FROM {table} WHERE id = $1", key))

    async def find(group: str) -> list[Any]:
        return [decode(r[0]) for r in await pool.fetch(f"SELECT body FROM {table} WHERE {doc} ->> 'group' = $1", group)]

    async def aggregate() -> list[Any]:
        kind, value = f"{doc} ->> 'kind'", f"({doc} ->> 'value')::bigint"
        rows = await pool.fetch(f"SELECT {kind} AS _id, count(*) AS n, sum({value}) AS v FROM {table} GROUP BY 1")
        return [dict(row) for row in rows]

    return Calls(insert, into(table), into(f"{table}_bulk"), get, find, aggregate)


# Mappers


class Base(DeclarativeBase):
    """What SQLAlchemy maps."""


class Columns:
    """A column for each field of a document."""

    id: Mapped[str] = mapped_column(primary_key=True)
    group: Mapped[str]
    kind: Mapped[str]
    value: Mapped[int]
    name: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSON)
    place: Mapped[dict[str, Any]] = mapped_column(JSON)


class Thing(Columns, Base):
    """A document in a table with an index."""

    __tablename__ = "mapped_things"
    __table_args__ = (SqlIndex("mapped_group", "group"),)


class BulkThing(Columns, Base):
    """A document in a table without one."""

    __tablename__ = "mapped_bulk"


def with_sqlalchemy(scheme: str) -> Way:
    """Return the way through SQLAlchemy's asynchronous sessions."""

    @asynccontextmanager
    async def way(url: str) -> AsyncIterator[Calls]:
        with tempfile.TemporaryDirectory() as directory:
            address = f"{scheme}://{url.partition('://')[2]}" if url else f"{scheme}:///{directory}/mapped.db"
            engine = create_async_engine(address)
            async with engine.begin() as connection:
                if not url:
                    await connection.exec_driver_sql("PRAGMA synchronous = FULL")
                await connection.run_sync(Base.metadata.drop_all)
                await connection.run_sync(Base.metadata.create_all)
            if not url:
                async with engine.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            yield _mapped(engine)
            await engine.dispose()

    return way


def _mapped(engine: AsyncEngine) -> Calls:
    session = async_sessionmaker(engine, expire_on_commit=False)

    def columns(row: Row) -> Row:
        return {"id": row["_id"], **{name: value for name, value in row.items() if name != "_id"}}

    async def add(row: Row) -> None:
        async with session.begin() as opened:
            opened.add(Thing(**columns(row)))

    def into(table: type[Base]) -> Callable[[list[Row]], Awaitable[object]]:
        async def add_many(rows: list[Row]) -> None:
            async with session.begin() as opened:
                await opened.execute(insert(table), [columns(row) for row in rows])

        return add_many

    async def get(key: str) -> object:
        async with session() as opened:
            return await opened.get(Thing, key)

    async def find(group: str) -> list[Any]:
        async with session() as opened:
            return list(await opened.scalars(select(Thing).where(Thing.group == group)))

    async def aggregate() -> list[Any]:
        async with session() as opened:
            counted = select(Thing.kind, func.count(), func.sum(Thing.value)).group_by(Thing.kind)
            return list(await opened.execute(counted))

    return Calls(add, into(Thing), into(BulkThing), get, find, aggregate)


async def populate(calls: Calls, count: int) -> list[Row]:
    """Write so many documents and return them."""
    rows = [document(number) for number in range(count)]
    for at in range(0, count, 1000):
        await calls.insert_many(rows[at : at + 1000])
        await asyncio.sleep(0)
    return rows
