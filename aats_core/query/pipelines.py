"""The parsed form of a pipeline: its stages, each of which makes documents of documents."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from aats_core.query.expressions import Expression
from aats_core.query.filters import Clause, Path
from aats_core.query.projection import Projection


class Match(msgspec.Struct, frozen=True):
    """Only documents that match go on."""

    clause: Clause


class Project(msgspec.Struct, frozen=True):
    """Documents keep what the projection keeps, then get the computed fields."""

    kept: Projection
    computed: tuple[tuple[Path, Expression], ...] = ()


class AddFields(msgspec.Struct, frozen=True):
    """Documents get the computed fields; one that computes to nothing is not added."""

    computed: tuple[tuple[Path, Expression], ...]


class ReplaceRoot(msgspec.Struct, frozen=True):
    """The object that the expression computes to takes the place of each document."""

    root: Expression


class Group(msgspec.Struct, frozen=True):
    """One document for each different value of `id`: it as `_id`, and what the accumulators make of the group."""

    id: Expression
    fields: tuple[tuple[str, str, Expression], ...]
    """Name, accumulator and expression of each."""


class Sort(msgspec.Struct, frozen=True):
    """Documents go on in that order."""

    order: tuple[tuple[Path, int], ...]


class Skip(msgspec.Struct, frozen=True):
    """All but the first so many go on."""

    count: int


class Limit(msgspec.Struct, frozen=True):
    """Only the first so many go on."""

    count: int


class Unwind(msgspec.Struct, frozen=True):
    """A document for each element of the array at the path, the element in the array's place.

    `index` names a field for its position. With `keeps_empty` a document without elements goes on as it is.
    """

    path: Path
    index: Path = ()
    keeps_empty: bool = False


class Count(msgspec.Struct, frozen=True):
    """One document with how many there were, in a field of that name; none where there were none."""

    name: str


class Lookup(msgspec.Struct, frozen=True):
    """Documents get an array of those of another collection whose foreign field equals their local one."""

    collection: str
    local: Path
    foreign: Path
    target: Path


class Facet(msgspec.Struct, frozen=True):
    """One document with what each of several pipelines makes of all the documents."""

    pipelines: tuple[tuple[str, Pipeline], ...]


Stage: TypeAlias = (
    Match | Project | AddFields | ReplaceRoot | Group | Sort | Skip | Limit | Unwind | Count | Lookup | Facet
)

Pipeline: TypeAlias = tuple[Stage, ...]
