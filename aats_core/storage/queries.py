"""Filters on their way to a database: compiled once for each shape, and bound to their values."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query import Clause, Prepared, parse_pipeline
from aats_core.query.filters import Path
from aats_core.query.pipelines import Limit, Match, Pipeline, Skip, Sort

Q = TypeVar("Q")

_MOST_PIPELINES = 500

Order: TypeAlias = Sequence[tuple[Path, int]]
"""What documents are sorted by: paths, each 1 ascending or -1 descending."""


class Beginning(msgspec.Struct, Generic[Q], frozen=True):
    """How a pipeline begins, which most databases do themselves: filter, order and page; then the `rest`."""

    query: Q
    order: Order
    skip: int
    limit: int | None
    rest: Pipeline


class _Parsed(msgspec.Struct, frozen=True):
    """A pipeline in parts: how many of its matches come first beside those that are written so; what follows them."""

    matches: int
    order: Order
    skip: int
    limit: int | None
    rest: Pipeline


class Queries(Generic[Q]):
    """Makes queries of filters; `compile` is given a shape, and `bind` the result and the values of the slots."""

    def __init__(self, compile: Callable[[Clause], Any], bind: Callable[[Any, Sequence[Any]], Q]) -> None:
        self._compile = compile
        self._bind = bind
        self._prepared: Prepared[Any] = Prepared(compile)
        self._pipelines: dict[bytes, _Parsed] = {}

    def of_clause(self, clause: Clause) -> Q:
        """Return the query of a parsed filter."""
        return self._bind(self._compile(clause), ())

    def query(self, filter: Mapping[str, Any] | None) -> Q:
        """Return the query of a filter; raises `InvalidQuery` where it is not one."""
        return self._bind(*self._prepared.get(filter or {}))

    def begin(self, pipeline: Sequence[Mapping[str, Any]]) -> Beginning[Q]:
        """Return how a pipeline begins: matches, one sort, one skip, one limit; raises `InvalidQuery` for no pipeline.

        What comes after the matches is parsed once for all pipelines in which it is the same.
        """
        leading = _leading_matches(pipeline)
        key = _key_of(pipeline, leading)
        parsed = self._pipelines.get(key)
        if parsed is None:
            parsed = _in_parts(parse_pipeline(pipeline), leading)
            if key and len(self._pipelines) < _MOST_PIPELINES:
                self._pipelines[key] = parsed
        filters = [stage["$match"] for stage in pipeline if "$match" in stage][: leading + parsed.matches]
        try:
            query = self.query(filters[0] if len(filters) == 1 else {"$and": filters} if filters else None)
        except InvalidQuery:
            parse_pipeline(pipeline)  # says where in it
            raise
        return Beginning(query, parsed.order, parsed.skip, parsed.limit, parsed.rest)


def _leading_matches(pipeline: Any) -> int:
    """Return how many stages of a pipeline, if it is one, are matches in front of all others."""
    number = 0
    if pipeline.__class__ is list:
        while number < len(pipeline) and pipeline[number].__class__ is dict and [*pipeline[number]] == ["$match"]:
            number += 1
    return number


def _key_of(pipeline: Any, leading: int) -> bytes:
    """Return what tells the stages after the first ones apart; nothing where they hold more than plain values."""
    try:
        return marshal.dumps(pipeline[leading:], 2)
    except (ValueError, TypeError):
        return b""


def _in_parts(stages: Pipeline, leading: int) -> _Parsed:
    matches = 0
    while matches < len(stages) and isinstance(stages[matches], Match):
        matches += 1
    rest = stages[matches:]
    order: Order = ()
    skip, limit = 0, None
    if rest and isinstance(first := rest[0], Sort):
        order, rest = first.order, rest[1:]
    if rest and isinstance(first := rest[0], Skip):
        skip, rest = first.count, rest[1:]
    if rest and isinstance(first := rest[0], Limit):
        limit, rest = first.count, rest[1:]
    return _Parsed(matches - leading, order, skip, limit, rest)
