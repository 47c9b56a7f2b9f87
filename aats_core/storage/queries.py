"""Filters on their way to a database: compiled once for each shape, and bound to their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from aats_core.query import Clause, Prepared, parse_pipeline
from aats_core.query.filters import Path
from aats_core.query.pipelines import Limit, Match, Pipeline, Skip, Sort

Q = TypeVar("Q")

Order: TypeAlias = Sequence[tuple[Path, int]]
"""What documents are sorted by: paths, each 1 ascending or -1 descending."""


class Queries(Generic[Q]):
    """Makes queries of filters; `compile` is given a shape, and `bind` the result and the values of the slots."""

    def __init__(self, compile: Callable[[Clause], Any], bind: Callable[[Any, Sequence[Any]], Q]) -> None:
        self._compile = compile
        self._bind = bind
        self._prepared: Prepared[Any] = Prepared(compile)

    def of_clause(self, clause: Clause) -> Q:
        """Return the query of a parsed filter."""
        return self._bind(self._compile(clause), ())

    def query(self, filter: Mapping[str, Any] | None) -> Q:
        """Return the query of a filter; raises `InvalidQuery` where it is not one."""
        return self._bind(*self._prepared.get(filter or {}))


class Beginning(msgspec.Struct, Generic[Q], frozen=True):
    """How a pipeline begins, which most databases do themselves: filter, order and page; then the `rest`."""

    query: Q
    order: Order
    skip: int
    limit: int | None
    rest: Pipeline


def beginning(pipeline: Sequence[Mapping[str, Any]], queries: Queries[Q]) -> Beginning[Q]:
    """Return how a pipeline begins: matches, one sort, one skip, one limit; raises `InvalidQuery` where it is none."""
    stages = parse_pipeline(pipeline)
    matches = 0
    while matches < len(stages) and isinstance(stages[matches], Match):
        matches += 1
    filters = [stage["$match"] for stage in pipeline if "$match" in stage][:matches]
    rest = stages[matches:]
    order: Order = ()
    skip, limit = 0, None
    if rest and isinstance(first := rest[0], Sort):
        order, rest = first.order, rest[1:]
    if rest and isinstance(first := rest[0], Skip):
        skip, rest = first.count, rest[1:]
    if rest and isinstance(first := rest[0], Limit):
        limit, rest = first.count, rest[1:]
    query = queries.query(filters[0] if len(filters) == 1 else {"$and": filters} if filters else None)
    return Beginning(query, order, skip, limit, rest)
