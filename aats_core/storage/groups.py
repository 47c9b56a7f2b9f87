"""Groups that databases can make by themselves: by one field or of all documents, with sums, means and extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from aats_core.query.expressions import ROOT, Expression, Field, Literal
from aats_core.query.filters import Path
from aats_core.query.numbers import fitted
from aats_core.query.pipelines import Group

_OVER_VALUES = frozenset({"$sum", "$avg", "$min", "$max"})


class Figure(msgspec.Struct, frozen=True):
    """A field of a group: an accumulator over the values at a path, or without a path so much for each document."""

    name: str
    accumulator: str
    path: Path = ()
    each: int = 1


class Grouping(msgspec.Struct, frozen=True):
    """A `$group` that a database can make: the field that tells groups apart, or no path, and what each group gets."""

    path: Path
    figures: tuple[Figure, ...]


def grouping_of(stage: Group, can_name: Callable[[Path], bool]) -> Grouping | None:
    """Return a stage in these terms, or None where it cannot be said so; `can_name` tells which paths can be named."""
    path = _path(stage.id, can_name)
    figures = [_figure(*field, can_name) for field in stage.fields]
    if path is None or None in figures:
        return None
    return Grouping(path, tuple(figure for figure in figures if figure is not None))


def _path(expression: Expression, can_name: Callable[[Path], bool]) -> Path | None:
    if isinstance(expression, Field):
        known = expression.variable == ROOT and expression.path and can_name(expression.path)
        return expression.path if known else None
    return () if isinstance(expression, Literal) and expression.value is None else None


def _figure(name: str, accumulator: str, of: Expression, can_name: Callable[[Path], bool]) -> Figure | None:
    if accumulator == "$count":
        return Figure(name, accumulator)
    if accumulator == "$sum" and isinstance(of, Literal) and of.value.__class__ is int:
        return Figure(name, "$count", each=of.value)
    path = _path(of, can_name)
    return Figure(name, accumulator, path) if path and accumulator in _OVER_VALUES else None


def total(found: Any, each: int = 1) -> Any:
    """Return a sum of integers that a database found, which is null of none, as MongoDB has it."""
    return fitted(int(found or 0) * each)


def mean(found: Any, count: int) -> Any:
    """Return the mean of integers, of which a database found the sum and how many there are; null of none."""
    return float(found) / count if count else None
