"""The parsed form of an update: what each of its operators does to the value at its path."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from aats_core.query.filters import Clause, Path


class SetValue(msgspec.Struct, frozen=True):
    """The path holds this value afterwards; with `on_insert` only in a document that an upsert makes."""

    path: Path
    value: Any
    on_insert: bool = False


class Unset(msgspec.Struct, frozen=True):
    """The path holds nothing afterwards; an element of an array becomes null."""

    path: Path


class Increment(msgspec.Struct, frozen=True):
    """The number at the path, 0 where there is none, grows by this."""

    path: Path
    by: Any


class Multiply(msgspec.Struct, frozen=True):
    """The number at the path, 0 where there is none, is multiplied by this."""

    path: Path
    by: Any


class Bound(msgspec.Struct, frozen=True):
    """The path holds the smaller of its value and this one in the order of all types, or with `larger` the larger."""

    path: Path
    value: Any
    larger: bool


class Rename(msgspec.Struct, frozen=True):
    """What the path held is at the target afterwards, in place of what was there."""

    path: Path
    target: Path


class Push(msgspec.Struct, frozen=True):
    """The array at the path, made where there is none, gets these values.

    They come before the element `position` (at the end where None; from the end where negative); then the array is
    sorted (`sort`: fields of its elements, the empty path being the element itself, each 1 or -1), then
    cut to its first `slice` elements, its last where negative.
    """

    path: Path
    values: tuple[Any, ...]
    position: int | None = None
    slice: int | None = None
    sort: tuple[tuple[Path, int], ...] = ()


class AddToSet(msgspec.Struct, frozen=True):
    """The array at the path, made where there is none, gets those of these values that it does not hold yet."""

    path: Path
    values: tuple[Any, ...]


class Pull(msgspec.Struct, frozen=True):
    """The array at the path loses its elements that fulfil the clause; with `documents` only objects can."""

    path: Path
    clause: Clause
    documents: bool


class Pop(msgspec.Struct, frozen=True):
    """The array at the path loses its last element, or with `first` its first."""

    path: Path
    first: bool


class CurrentDate(msgspec.Struct, frozen=True):
    """The path holds the time of the update afterwards."""

    path: Path


Operation: TypeAlias = (
    SetValue | Unset | Increment | Multiply | Bound | Rename | Push | AddToSet | Pull | Pop | CurrentDate
)


class Changes(msgspec.Struct, frozen=True):
    """A parsed update: its operations in the order of their paths, in which they are applied."""

    operations: tuple[Operation, ...]
