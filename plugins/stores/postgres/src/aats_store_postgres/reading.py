"""Reads of documents, over whatever session and snapshot the caller has."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aats_core.query import sorted_by
from aats_core.query.needs import Fields
from aats_core.storage.queries import Order
from aats_core.store import Document
from aats_store_postgres.catalog import Collection
from aats_store_postgres.codec import decode, decode_all
from aats_store_postgres.expressions import ARRAY, OBJECT, is_expressible, target_at
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Session

_ID = ("_id",)
_BATCH = 500


async def count(session: Session, collection: Collection | None, query: Query) -> int:
    """Return how many documents match."""
    if collection is None:
        return 0
    where = query.where(collection)
    if query.exact:
        number: int = await session.value(f"SELECT count(*) FROM {collection.table} WHERE {where}", *query.parameters)
        return number
    sql = f"SELECT count(*), count(*) FILTER (WHERE {query.surely(collection)}) FROM {collection.table} WHERE {where}"
    ((perhaps, surely),) = await session.fetch(sql, *query.all_parameters)
    if perhaps == surely:
        return int(surely)
    rows = await session.fetch(f"SELECT body FROM {collection.table} WHERE {where}", *query.parameters)
    matches = query.matcher()
    return sum(1 for row in rows if matches(decode(row[0])))


async def find(
    session: Session,
    collection: Collection | None,
    query: Query,
    *,
    order: Order = (),
    limit: int | None = None,
    skip: int = 0,
    fields: Fields | None = None,
) -> list[Document]:
    """Return the documents that match, in that order; where `fields` are given they may lack all others.

    PostgreSQL sorts; where documents hold objects or arrays at those paths, Python does.
    """
    if collection is None or limit == 0:
        return []
    where = query.where(collection)
    if not order and query.exact:
        sql = f"SELECT body FROM {collection.table} WHERE {where}"
        if limit is not None or skip:
            sql = f"{sql}{_page(limit, skip)}"
        return decode_all([row[0] for row in await session.fetch(sql, *query.parameters)], fields)
    return await _sorted(session, collection, query, order, limit, skip)


def _page(limit: int | None, skip: int) -> str:
    return f" LIMIT {'ALL' if limit is None else int(limit)} OFFSET {int(skip)}"


async def _sorted(
    session: Session, collection: Collection, query: Query, order: Order, limit: int | None, skip: int
) -> list[Document]:
    by = order_by(order)
    if by is not None:
        tail = f"{by}{_page(limit, skip)}" if query.exact else f"{by}{_page(_end(limit, skip), 0)}"
        check = _unordered(collection, query, order)
        found = await _sorted_there(session, collection, query, tail, check, whole=limit is None)
        if found or (found is not None and not (order and skip)):  # a page beyond the end does not tell of the order
            return found if query.exact else found[skip:]
    sql = f"SELECT body FROM {collection.table} WHERE {query.where(collection)}"
    rows = await session.fetch(sql, *query.parameters)
    documents = filter(query.matcher(), (decode(row[0]) for row in rows))
    return sorted_by(documents, order)[skip : _end(limit, skip)]


def _end(limit: int | None, skip: int) -> int | None:
    return None if limit is None else skip + limit


async def _sorted_there(
    session: Session, collection: Collection, query: Query, tail: str, unordered: str, *, whole: bool
) -> list[Document] | None:
    """Return the documents as PostgreSQL sorts and limits them, or None where it cannot tell which these are.

    `whole` says that there is no limit, so that those among them that do not match can simply be left out.
    """
    surely, parameters = ("TRUE", query.parameters) if query.exact else (query.surely(collection), query.all_parameters)
    sql = f"SELECT body, {unordered}, {surely} FROM {collection.table} WHERE {query.where(collection)}{tail}"
    rows = await session.fetch(sql, *parameters)
    if rows and rows[0][1]:
        return None
    documents = [decode(row[0]) for row in rows]
    if all(row[2] for row in rows):
        return documents
    return list(filter(query.matcher(), documents)) if whole else None


def order_by(order: Order) -> str | None:
    """Return the clause that sorts documents, or None where PostgreSQL cannot name one of the paths."""
    terms = []
    for path, direction in order:
        if not is_expressible(path):
            return None
        way = "DESC" if direction < 0 else "ASC"
        terms += [f"{term} {way}" for term in (("id",) if path == _ID else target_at(path).order)]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def _unordered(collection: Collection, query: Query, order: Order) -> str:
    """Return whether a document may have an object or an array at a path; an index tells quickly, if of all."""
    checks = []
    for path, _ in order:
        if path == _ID:
            where = "id >= 't' AND id < 'u'"
        else:
            where = f"{target_at(path).key} IN ('{OBJECT}', '{ARRAY}')"
            if not collection.has_index_on(path):
                where = f"({query.where(collection)}) AND {where}"
        checks.append(f"EXISTS (SELECT 1 FROM {collection.table} WHERE {where})")
    return " OR ".join(checks) or "FALSE"


async def stream(
    session: Session, collection: Collection | None, query: Query, order: Order, timeout: float
) -> AsyncIterator[Document]:
    """Yield what `find` does a few at a time, within a transaction of the caller's; `timeout` is for each batch."""
    if collection is None:
        return
    source, parameters = f"FROM {collection.table} WHERE {query.where(collection)}", query.parameters
    by, matches = order_by(order), None if query.exact else query.matcher()
    unordered = f"SELECT {_unordered(collection, query, order)} {source} LIMIT 1"
    if by is None or (order and await session.fetch(unordered, *parameters) == [(True,)]):
        for each in await _sorted(session, collection, query, order, None, 0):
            yield each
        return
    async for row in session.connection.cursor(
        f"SELECT body {source}{by}", *parameters, prefetch=_BATCH, timeout=timeout
    ):
        document: Document = decode(row[0])
        if matches is None or matches(document):
            yield document
