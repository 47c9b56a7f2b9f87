"""Filters on their way to SQLite: compiled once for each shape, and bound to their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.storage.queries import Queries
from aats_store_sqlite.bindings import TEXT_TABLE, Condition
from aats_store_sqlite.catalog import Collection
from aats_store_sqlite.compile import compile_filter


class Query(msgspec.Struct, frozen=True):
    """A filter as SQL, and the values to bind."""

    condition: Condition
    parameters: tuple[Any, ...]

    def where(self, collection: Collection) -> str:
        """Return the SQL of the filter; raises `InvalidQuery` for `$text` where the collection has no index for it."""
        if not self.condition.searches:
            return self.condition.sql
        table = collection.text_table
        if table is None:
            raise InvalidQuery(f"{collection.name}: $text needs a text index; give the collection one with ensure")
        return self.condition.sql.replace(TEXT_TABLE, table)


def make_queries() -> Queries[Query]:
    """Return what makes queries of filters."""
    return Queries(compile_filter, _bind)


def _bind(condition: Condition, values: Sequence[Any]) -> Query:
    return Query(condition, condition.parameters(values))
