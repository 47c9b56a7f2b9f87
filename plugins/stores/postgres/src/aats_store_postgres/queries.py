"""Filters on their way to PostgreSQL: compiled once for each shape, and bound to their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aats_core.errors import InvalidQuery
from aats_core.query import Clause, matcher
from aats_core.query.filters import And, Text
from aats_core.query.shape import bound
from aats_core.storage.queries import Queries
from aats_store_postgres.bindings import TEXT_INDEX, Condition
from aats_store_postgres.catalog import Collection
from aats_store_postgres.compile import compile_filter


class Compiled:
    """A filter of some shape: its SQL and, for what SQL leaves open, its parsed form."""

    __slots__ = ("clause", "condition")

    def __init__(self, clause: Clause) -> None:
        self.clause = clause
        self.condition: Condition = compile_filter(clause)


class Query:
    """A filter as SQL with its values."""

    __slots__ = ("_compiled", "_values", "parameters")

    def __init__(self, compiled: Compiled, values: Sequence[Any]) -> None:
        self._compiled = compiled
        self._values = values
        self.parameters = compiled.condition.parameters(values)

    @property
    def exact(self) -> bool:
        """Whether all documents that the SQL finds match, so that Python need not look at them."""
        return self._compiled.condition.exact

    @property
    def sql(self) -> str:
        """The SQL, in which the full-text index is not named yet."""
        return self._compiled.condition.sql

    @property
    def searches(self) -> bool:
        """Whether it needs a full-text index."""
        return self._compiled.condition.searches

    def where(self, collection: Collection) -> str:
        """Return the SQL; raises `InvalidQuery` for `$text` where the collection has no index for it."""
        condition = self._compiled.condition
        if not condition.searches:
            return condition.sql
        words = collection.words
        if words is None:
            raise InvalidQuery(f"{collection.name}: $text needs a text index; give the collection one with ensure")
        return condition.sql.replace(TEXT_INDEX, words)

    def surely(self, collection: Collection) -> str:
        """Return whether a document that the SQL finds matches for certain; takes `all_parameters`."""
        return f"(({self._compiled.condition.surely.replace(TEXT_INDEX, collection.words or '')}) IS TRUE)"

    @property
    def all_parameters(self) -> tuple[Any, ...]:
        """What to bind to a statement that asks for `surely` too."""
        return (*self.parameters, *self._compiled.condition.more_parameters(self._values))

    def matcher(self) -> Callable[[Any], bool]:
        """Return a function that tells whether a document matches."""
        return matcher(bound(_without_text(self._compiled.clause), self._values))

    def is_same(self, other: Query) -> bool:
        """Tell whether both ask the same."""
        return self._compiled is other._compiled and self.parameters == other.parameters


def _without_text(clause: Clause) -> Clause:
    """Return a filter without the search for text that all of it depends on: PostgreSQL has done that exactly."""
    if isinstance(clause, And):
        return And(tuple(map(_without_text, clause.clauses)))
    return And(()) if isinstance(clause, Text) else clause


def make_queries() -> Queries[Query]:
    """Return what makes queries of filters."""
    return Queries(Compiled, Query)
