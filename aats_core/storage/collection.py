"""Collections as a store knows them: their names, their indexes, and what documents have in these."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query.filters import Path
from aats_core.query.order import values_at
from aats_core.query.paths import parse_path
from aats_core.storage.json_schema import check_json_schema
from aats_core.store import Document, Index, Schema

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")


def check_name(name: str) -> str:
    """Return the name of a collection; raises `InvalidQuery` where it cannot be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidQuery(f"{name!r} cannot be a collection: use letters, digits, _, - and ., at most 120 of them")
    return name


class KnownCollection(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A collection and what it holds; a store adds where it lies."""

    id: int
    name: str
    schema: Schema

    @cached_property
    def unique(self) -> list[tuple[int, Index]]:
        """Its unique indexes and their numbers."""
        return [(number, index) for number, index in enumerate(self.schema.indexes) if index.unique]

    @cached_property
    def is_checked(self) -> bool:
        """Whether a document may be refused for what it holds."""
        return self.schema.json_schema is not None or bool(self.unique)

    @cached_property
    def text_paths(self) -> list[Path]:
        """The paths of its full-text index; none where it has no such index."""
        return [tuple(path.split(".")) for index in self.schema.indexes if index.text for path in index.fields]

    @property
    def expiries(self) -> list[tuple[str, float]]:
        """The fields whose date documents are deleted after, and so many seconds later."""
        return [
            (next(iter(index.fields)), index.expire_after)
            for index in self.schema.indexes
            if index.expire_after is not None
        ]

    def has_index_on(self, path: Path) -> bool:
        """Tell whether an index begins with a path, so that its keys can be looked up."""
        first = ".".join(path)
        return any(not index.text and next(iter(index.fields)) == first for index in self.schema.indexes)


def check_schema(name: str, schema: Schema, flaw: Callable[[Path], str]) -> None:
    """Raise `InvalidQuery` where a collection cannot have such a schema.

    `flaw` says what is wrong with the name of a field that this database cannot index; nothing where it can.
    """
    for index in schema.indexes:
        _check_index(name, index, flaw)
    if schema.json_schema is not None:
        check_json_schema(name, schema.json_schema)


def _check_index(name: str, index: Index, flaw: Callable[[Path], str]) -> None:
    where = f"{name}: the index over {', '.join(index.fields)}"
    if not index.fields:
        raise InvalidQuery(f"{name}: an index needs a field")
    for field, direction in index.fields.items():
        if wrong := flaw(parse_path(field, where)):
            raise InvalidQuery(f"{where}: {field!r} cannot be indexed, {wrong}")
        if direction not in (1, -1):
            raise InvalidQuery(f"{where}: {field} takes 1 (ascending) or -1 (descending), not {direction!r}")
    if index.expire_after is not None and (len(index.fields) > 1 or index.expire_after < 0):
        raise InvalidQuery(f"{where}: expire_after takes seconds of at least 0, and one field, which holds a date")
    if index.text and (index.unique or index.expire_after is not None):
        raise InvalidQuery(f"{where}: a text index can be neither unique nor expire")


def extended(old: Schema, wanted: Schema) -> Schema:
    """Return a schema with what it lacks of another one; an index over the same fields is replaced in its place."""
    new = {_identity(index): index for index in wanted.indexes}
    kept = tuple(new.pop(_identity(index), index) for index in old.indexes)
    return Schema(kept + tuple(new.values()), old.json_schema if wanted.json_schema is None else wanted.json_schema)


def _identity(index: Index) -> tuple[bool, tuple[tuple[str, int], ...]]:
    return (True, ()) if index.text else (False, tuple(index.fields.items()))


def indexed_values(document: Document, index: Index) -> list[tuple[Any, ...]]:
    """Return what a document has in an index: a value for each field, and as many such rows as its arrays make."""
    values = [_elements(values_at(document, tuple(path.split(".")))) for path in index.fields]
    return list(itertools.product(*values))


def _elements(values: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value.__class__ is list and value:
            found.extend(value)
        else:
            found.append(value)
    return found
