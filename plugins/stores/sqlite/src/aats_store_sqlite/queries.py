"""Filters on their way to SQLite: compiled once for each shape, and bound to their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query import Clause, Prepared
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


class Queries:
    """Makes queries of filters."""

    def __init__(self) -> None:
        self._prepared: Prepared[Condition] = Prepared(compile_filter)

    def of_clause(self, clause: Clause) -> Query:
        """Return the query of a parsed filter."""
        condition = compile_filter(clause)
        return Query(condition, condition.parameters(()))

    def query(self, filter: Mapping[str, Any] | None) -> Query:
        """Return the query of a filter; raises `InvalidQuery` where it is not one."""
        condition, values = self._prepared.get(filter or {})
        return Query(condition, condition.parameters(values))
