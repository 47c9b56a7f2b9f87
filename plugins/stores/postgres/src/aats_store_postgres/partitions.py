"""Collections in several tables: by a hash of the `_id`, or by the time with which it begins.

A row's key is its `_id`, so that is what a collection can be divided by. The name of a partition ends with the number
or the time that it is for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice

import asyncpg
import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query import values
from aats_core.store import Schema
from aats_store_postgres import columns, indexes
from aats_store_postgres.catalog import Catalog, Collection
from aats_store_postgres.identity import LETTERS
from aats_store_postgres.layout import locking
from aats_store_postgres.session import Session

log = logging.getLogger("aats.store.postgres")

_MOST = 1000
_AHEAD = 3
"""Partitions that there are beyond that of the present."""

_STRING = LETTERS[values.STRING]
_TIME = re.compile(r"_(\d{4})_(\d\d)(?:_(\d\d))?$")
_PARTITIONS = (
    "SELECT parent.relname, child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
    " JOIN pg_partitioned_table ON partrelid = inhparent JOIN pg_class parent ON parent.oid = inhparent"
    " WHERE parent.relnamespace = $1::text::regnamespace AND partstrat = 'r' ORDER BY child.relname"
)


class Every(StrEnum):
    """How long a time each partition is for."""

    DAY = "day"
    MONTH = "month"

    def begin(self, time: datetime) -> datetime:
        """Return when the day or month of a moment begins."""
        day = datetime(time.year, time.month, time.day, tzinfo=UTC)
        return day if self is Every.DAY else day.replace(day=1)

    def next(self, begin: datetime) -> datetime:
        """Return when the one after begins."""
        return self.begin(begin + timedelta(days=1 if self is Every.DAY else 32))

    def text(self, begin: datetime) -> str:
        """Return how all times within it begin in ISO 8601."""
        return begin.strftime("%Y-%m-%d" if self is Every.DAY else "%Y-%m")


async def by_hash(session: Session, catalog: Catalog, namespace: str, name: str, count: int) -> None:
    """Divide a collection into so many tables."""
    if not 2 <= count <= _MOST:
        raise InvalidQuery(f"{name}: a collection is divided into 2 to {_MOST} partitions, not {count}")
    bounds = {str(number): f"WITH (MODULUS {count}, REMAINDER {number})" for number in range(count)}
    await _divide(session, catalog, namespace, name, "HASH (id)", bounds)


async def by_time(session: Session, catalog: Catalog, namespace: str, name: str, every: Every, now: datetime) -> None:
    """Divide a collection into a table for each day or month that its documents are of, or will be soon."""
    known = await catalog.find(session, name)
    assert known is not None, "the collection has been made before"
    pattern = f"^{_STRING}[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}"
    sql = f"SELECT substr(min(id), 2, 10), substr(max(id), 2, 10) FROM {known.table} WHERE id ~ '{pattern}'"
    ((least, most),) = await session.fetch(sql)
    begin = every.begin(min([now, *([_time(least)] if least else [])]))
    end = max([now, *([_time(most)] if most else [])])
    bounds = dict(islice(_times(every, begin, end), _MOST + 1))
    if len(bounds) > _MOST:
        raise InvalidQuery(f"{name}: its times reach from {least} to {most}: that takes more than {_MOST} partitions")
    await _divide(session, catalog, namespace, name, "RANGE (id)", {**bounds, "rest": "DEFAULT"})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _times(every: Every, begin: datetime, end: datetime) -> Iterable[tuple[str, str]]:
    """Yield name and bounds of the partitions from one time to another, and of some more."""
    beyond = 0
    while beyond <= _AHEAD:
        after = every.next(begin)
        first, last = every.text(begin), every.text(after)
        yield first.replace("-", "_"), f"FROM ('{_STRING}{first}') TO ('{_STRING}{last}')"
        begin, beyond = after, beyond + (after > end)


async def _divide(
    session: Session, catalog: Catalog, namespace: str, name: str, way: str, bounds: dict[str, str]
) -> None:
    """Move a collection into a table of partitions; nobody can use it meanwhile."""
    await session.run("SET statement_timeout = 0; BEGIN;" + locking(catalog.space))
    old = await catalog.find(session, name)
    assert old is not None, "the collection has been made before"
    await session.run(f"LOCK TABLE {old.table} IN ACCESS EXCLUSIVE MODE")
    had_columns = await columns.existing(session, old)
    new = await catalog.renew(session, old)
    await catalog.make_table(session, new, f" PARTITION BY {way}")
    for part, bound in bounds.items():
        await session.run(_creation(new, part, bound))
    await session.run(
        f"INSERT INTO {new.table} (id, body) SELECT id, body FROM {old.table};"
        f"DROP TABLE {old.table} CASCADE; DROP TABLE IF EXISTS {new.unique_table}"
    )
    await indexes.make(session, msgspec.structs.replace(new, schema=Schema()), new)
    if had_columns:
        await columns.make(session, new, namespace)
    await session.run("COMMIT")
    await catalog.find(session, name)


def _creation(collection: Collection, part: str, bound: str) -> str:
    bound = bound if bound == "DEFAULT" else f"FOR VALUES {bound}"
    table = f"{collection.space}.p{collection.id}_{collection.generation}_{part}"
    return f"CREATE TABLE {table} PARTITION OF {collection.table} {bound}"


async def extend(session: Session, catalog: Catalog, now: datetime) -> None:
    """Make the partitions of times that come; one that cannot be made now is made the next time."""
    last = {parent: child for parent, child in await session.fetch(_PARTITIONS, catalog.space) if _TIME.search(child)}
    for collection in catalog.all():
        if collection.bare_table not in last:
            continue
        every, begin = _of_name(last[collection.bare_table])
        wanted = dict(_times(every, every.begin(now), now))
        missing = {part: bound for part, bound in wanted.items() if part > every.text(begin).replace("-", "_")}
        for part, bound in missing.items():
            try:
                await session.run(f"BEGIN; SET LOCAL lock_timeout = '1s'; {_creation(collection, part, bound)}; COMMIT")
            except asyncpg.PostgresError as error:
                await session.run("ROLLBACK")
                log.warning("%s: there is no partition for %s yet: %s", collection.name, part, error)
                break


async def drop_before(session: Session, catalog: Catalog, name: str, time: datetime) -> int:
    """Drop the partitions whose times all lie before one; return how many there were."""
    dropped = 0
    await session.run("SET statement_timeout = 0; BEGIN;" + locking(catalog.space))
    collection = await catalog.find(session, name)
    for parent, child in await session.fetch(_PARTITIONS, catalog.space):
        if collection is None or parent != collection.bare_table or not _TIME.search(child):
            continue
        every, begin = _of_name(child)
        if every.next(begin) <= time:
            part = f"{catalog.space}.{child}"
            if collection.unique:
                await session.run(f"DELETE FROM {collection.unique_table} WHERE owner IN (SELECT id FROM {part})")
            await session.run(f"ALTER TABLE {collection.table} DETACH PARTITION {part}; DROP TABLE {part}")
            dropped += 1
    await session.run("COMMIT")
    return dropped


def _of_name(child: str) -> tuple[Every, datetime]:
    found = _TIME.search(child)
    assert found is not None, "it is a partition of a time"
    year, month, day = found.groups()
    begin = datetime(int(year), int(month), int(day or 1), tzinfo=UTC)
    return (Every.DAY if day else Every.MONTH), begin
