"""The parsed form of a filter: a tree of conditions that stores compile and `match` evaluates."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

Path: TypeAlias = tuple[str, ...]
"""The parts of a dotted path; the empty path is the value itself, as within `$elemMatch`."""


class Slot(msgspec.Struct, frozen=True):
    """Stands for a value that is bound later: the `index`-th of those that `shape` took out of a filter.

    `kind` is the value's class (`values.NUMBER` and so on), on which compiled forms may depend.
    """

    index: int
    kind: int


class Comparison(StrEnum):
    """How a value at a path compares with the operand of the same class."""

    EQ = "$eq"
    GT = "$gt"
    GTE = "$gte"
    LT = "$lt"
    LTE = "$lte"


class And(msgspec.Struct, frozen=True):
    """All of them hold; empty, it always does."""

    clauses: tuple[Clause, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one of them holds; empty, it never does."""

    clauses: tuple[Clause, ...]


class Not(msgspec.Struct, frozen=True):
    """It does not hold, which includes that there is nothing at its path."""

    clause: Clause


class Compare(msgspec.Struct, frozen=True):
    """Some value at the path, or some element of an array there, compares so with the operand, a value or a `Slot`.

    Values of different classes never compare; equality with null includes that there is nothing.
    """

    path: Path
    comparison: Comparison
    operand: Any


class In(msgspec.Struct, frozen=True):
    """Some value at the path, or some element, equals one of the values or matches one of the patterns.

    The operands may be a `Slot` for a list of values of its kind.
    """

    path: Path
    operands: tuple[Any, ...] | Slot
    patterns: tuple[re.Pattern[str], ...] = ()


class Exists(msgspec.Struct, frozen=True):
    """There is something at the path, be it null."""

    path: Path


class HasType(msgspec.Struct, frozen=True):
    """Some value at the path, or some element, is of one of the types (names of `values.TYPE_NAMES`)."""

    path: Path
    types: frozenset[str]


class Matches(msgspec.Struct, frozen=True):
    """Some string at the path, or some element, holds what the pattern describes."""

    path: Path
    pattern: re.Pattern[str]


class Modulo(msgspec.Struct, frozen=True):
    """Some number at the path, or some element, cut to an integer, has that remainder of its division."""

    path: Path
    divisor: int
    remainder: int


class HasSize(msgspec.Struct, frozen=True):
    """At the path is an array of that many elements."""

    path: Path
    size: int


class ElemMatch(msgspec.Struct, frozen=True):
    """At the path is an array, and one of its elements fulfils the whole clause.

    With `documents` the clause is a filter and only objects can fulfil it; otherwise its paths are empty.
    """

    path: Path
    clause: Clause
    documents: bool


class Text(msgspec.Struct, frozen=True):
    """The full-text index of the collection finds the document.

    It holds every one of the `phrases`, or where there are none one of the `words`; and none of the `excluded` words.
    `paths` are those of the index, where a store says them so that the clause can be evaluated in memory.
    """

    words: tuple[str, ...]
    phrases: tuple[str, ...]
    excluded: tuple[str, ...]
    paths: tuple[Path, ...] = ()


OneValue: TypeAlias = Compare | In | HasType | Matches | Modulo
"""A condition that a value at a path fulfils, or one of the elements of an array there."""

Leaf: TypeAlias = OneValue | Exists | HasSize | ElemMatch
"""A condition on what is at a path."""

Clause: TypeAlias = And | Or | Not | Leaf | Text
