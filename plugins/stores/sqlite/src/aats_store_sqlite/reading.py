"""Reads of documents, over whatever connection and snapshot the caller has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from aats_core.query import Context, run_pipeline, sorted_by
from aats_core.query.filters import And, Path
from aats_core.query.needs import Fields, fields_of_pipeline
from aats_core.query.pipelines import Count, Group
from aats_core.storage.groups import grouping_of
from aats_core.storage.queries import Beginning, Order
from aats_core.storage.stored_form import MARK
from aats_core.store import Document
from aats_store_sqlite.catalog import Collection
from aats_store_sqlite.codec import ARRAY, OBJECT, STRING, decode, decode_all
from aats_store_sqlite.grouping import grouped
from aats_store_sqlite.keys import is_expressible, key_at, rest_at
from aats_store_sqlite.queries import Query

_ID = ("_id",)


def count(connection: apsw.Connection, collection: Collection | None, query: Query) -> int:
    """Return how many documents match."""
    if collection is None:
        return 0
    sql = f"SELECT count(*) FROM {collection.table} WHERE {query.where(collection)}"
    number: int = connection.execute(sql, query.parameters).get
    return number


def find(
    connection: apsw.Connection,
    collection: Collection | None,
    query: Query,
    *,
    order: Order = (),
    limit: int | None = None,
    skip: int = 0,
    fields: Fields | None = None,
) -> list[Document]:
    """Return the documents that match, in that order; where `fields` are given they may lack all others.

    SQLite sorts by keys; where documents hold values whose order keys do not tell, they are sorted in Python.
    """
    if collection is None:
        return []
    if not order:
        return _page(connection, collection, query, "", limit, skip, fields)
    with snapshot(connection):
        by_key = _order_by(connection, collection, query, order)
        if by_key is not None:
            return _page(connection, collection, query, by_key, limit, skip)
        found = sorted_by(_page(connection, collection, query), order)
        return found[skip:] if limit is None else found[skip : skip + limit]


def stream(
    connection: apsw.Connection, collection: Collection | None, query: Query, order: Order
) -> Iterator[Document]:
    """Return what `find` does as it is asked for, within a snapshot of the caller's."""
    if collection is None:
        return iter(())
    by_key = _order_by(connection, collection, query, order)
    if by_key is None:
        return iter(sorted_by(_page(connection, collection, query), order))
    return (decode(text) for (text,) in _rows(connection, collection, query, by_key))


def _page(
    connection: apsw.Connection,
    collection: Collection,
    query: Query,
    order_by: str = "",
    limit: int | None = None,
    skip: int = 0,
    fields: Fields | None = None,
) -> list[Document]:
    """Read to the end before anything can fail: a cursor left in the middle would keep the reader at its snapshot."""
    rows = _rows(connection, collection, query, order_by, limit, skip).fetchall()
    return decode_all([text for (text,) in rows], fields)


def _rows(
    connection: apsw.Connection,
    collection: Collection,
    query: Query,
    order_by: str,
    limit: int | None = None,
    skip: int = 0,
) -> Any:
    return connection.execute(
        f"SELECT doc FROM {collection.table} WHERE {query.where(collection)}{order_by} LIMIT ? OFFSET ?",
        (*query.parameters, -1 if limit is None else limit, skip),
    )


def aggregate(
    connection: apsw.Connection, collection: Collection | None, begin: Beginning[Query], context: Context
) -> list[Document]:
    """Run the documents that match through a pipeline, whose beginning SQLite does."""
    query, rest = begin.query, begin.rest
    paged = bool(begin.order) or begin.skip or begin.limit is not None
    first = rest[0] if rest and not paged else None
    if isinstance(first, Count):
        number = count(connection, collection, query)
        return run_pipeline([{first.name: number}] if number else [], rest[1:], context)
    grouping = grouping_of(first, is_expressible) if isinstance(first, Group) else None
    with snapshot(connection):
        if grouping is not None and collection is not None:
            groups = grouped(connection, collection, query, grouping)
            if groups is not None:
                return run_pipeline(groups, rest[1:], context)
        page: dict[str, Any] = {"order": begin.order, "limit": begin.limit, "skip": begin.skip}
        found = find(connection, collection, query, **page, fields=fields_of_pipeline(And(()), rest))
        return run_pipeline(found, rest, context)


@contextmanager
def snapshot(connection: apsw.Connection) -> Iterator[None]:
    """Have all statements within see the same state, that of the transaction if there is one."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _order_by(connection: apsw.Connection, collection: Collection, query: Query, order: Order) -> str | None:
    """Return the clause that sorts by keys, or None where keys do not tell the order of the documents."""
    terms = []
    for path, direction in order:
        if not is_expressible(path) or _has_unordered(connection, collection, query, path):
            return None
        way = "DESC" if direction < 0 else "ASC"
        terms += [f"id {way}"] if path == _ID else [f"{key_at(path)} {way}", f"{rest_at(path)} {way}"]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def _has_unordered(connection: apsw.Connection, collection: Collection, query: Query, path: Path) -> bool:
    """Tell whether a document may have an object or an array at a path, or an `_id` that is stored under a stand-in.

    An index that begins with the path tells quickly, if of all documents.
    """
    table, key = collection.table, key_at(path)
    parameters: tuple[Any, ...] = ()
    if path == _ID:
        where = f"id >= '{MARK}' AND id < '{STRING}' OR id >= '{OBJECT}' AND id < '{ARRAY}'"
    elif collection.has_index_on(path):
        where = f"{key} IN ('{OBJECT}', '{ARRAY}')"
    else:
        where = f"({query.where(collection)}) AND {key} IN ('{OBJECT}', '{ARRAY}')"
        parameters = query.parameters
    return bool(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {where})", parameters).get)
