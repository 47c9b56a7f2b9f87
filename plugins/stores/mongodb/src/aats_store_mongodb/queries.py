"""Checks filters, updates and pipelines against the record language, and makes of them what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aats_core.errors import InvalidDocument, InvalidQuery
from aats_core.message import new_id
from aats_core.query import Changes, parse_filter, parse_projection, parse_sort, parse_update, upserted
from aats_core.query.values import normal
from aats_core.store import Document, Filter
from aats_store_mongodb.wire import sendable

_ON_INSERT = "$setOnInsert"


def checked_filter(filter: Filter | None) -> dict[str, Any]:
    """Return a filter as it is sent; raises `InvalidQuery` where it is none."""
    if not filter:
        return {}
    parse_filter(filter)
    sent: dict[str, Any] = sendable(filter)
    return sent


def checked_update(filter: Filter, update: Mapping[str, Any], *, upsert: bool) -> dict[str, Any]:
    """Return an update as it is sent; an upsert that knows no `_id` is given one."""
    changes = parse_update(update)
    sent: dict[str, Any] = sendable(update)
    if upsert and _lacks_id(filter, changes):
        return {**sent, _ON_INSERT: {**sent.get(_ON_INSERT, {}), "_id": new_id()}}
    return sent


def _lacks_id(filter: Filter, changes: Changes) -> bool:
    """Tell whether an upsert would make a document without an `_id`."""
    try:
        return "_id" not in upserted(parse_filter(filter), changes, datetime.now(UTC))
    except InvalidQuery:  # the server refuses it too, but only where no document matches
        return False


def checked_page(limit: int | None, skip: int) -> None:
    """Raise `InvalidQuery` where a page cannot be."""
    if (limit is not None and limit < 0) or skip < 0:
        raise InvalidQuery(f"limit {limit} and skip {skip} cannot be negative")


def checked_options(
    projection: Mapping[str, Any] | None, sort: Mapping[str, int] | None, limit: int | None, skip: int
) -> dict[str, Any]:
    """Return the options of a `find` as the driver takes them."""
    checked_page(limit, skip)
    options: dict[str, Any] = {"skip": skip, "limit": limit or 0}
    if projection:
        parse_projection(projection)
        options["projection"] = dict(projection)
    if sort:
        options["sort"] = [(".".join(path), direction) for path, direction in parse_sort(sort, "sort")]
    return options


def complete(document: Document) -> Document:
    """Return a document as it is sent, with a new `_id` in front where it has none."""
    sent: Document = normal(document)
    if not isinstance(sent, dict):
        raise InvalidDocument(f"a document is a mapping, not a {type(document).__name__}; pass documents one by one")
    return sent if "_id" in sent else {"_id": new_id(), **sent}


def one_id(filter: Mapping[str, Any]) -> bool:
    """Tell whether a filter asks for one `_id`, so that no more than one document can match."""
    wanted = filter.get("_id")
    return isinstance(wanted, str | int | float | bool | bytes)
