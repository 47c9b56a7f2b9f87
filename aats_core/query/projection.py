"""Projections: which fields of a document are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query.filters import Path
from aats_core.query.paths import parse_path, refuse_overlap
from aats_core.query.values import MISSING

Tree: TypeAlias = dict[Any, Any]
"""The paths named: for each first part the tree of what follows, or None where the path ends.

Under `MISSING` there is something where whatever is no object becomes one, for which something is computed.
"""

_ID = "_id"


class Projection(msgspec.Struct, frozen=True):
    """A parsed projection: the fields that are kept, or with `keeps=False` those that are dropped."""

    keeps: bool
    fields: Tree


def parse_projection(projection: Mapping[str, Any], place: str = "projection") -> Projection:
    """Return the parsed form: fields that are each 1 (only these, and `_id`) or each 0 (all but these).

    `_id` may be 0 beside fields that are 1. Raises `InvalidQuery` on anything else.
    """
    if not isinstance(projection, Mapping):
        raise InvalidQuery(f"{place}: a projection is an object of paths, each 1 or 0, not {projection!r}")
    wanted = _flatten(projection, (), place)
    of_id = wanted.pop((_ID,), None)
    if len(set(wanted.values())) > 1:
        raise InvalidQuery(f"{place}: fields are all 1 or all 0; only _id may differ")
    keeps = next(iter(wanted.values()), bool(of_id))
    paths = list(wanted)
    if of_id is None:
        of_id = True
    if keeps is of_id:
        paths.append((_ID,))
    return Projection(keeps, _tree(paths, place))


def _flatten(projection: Mapping[str, Any], above: Path, place: str) -> dict[Path, bool]:
    found: dict[Path, bool] = {}
    for name, value in projection.items():
        where = f"{place}.{name}"
        path = above + parse_path(name, where)
        if isinstance(value, Mapping) and value and not any(str(key).startswith("$") for key in value):
            found.update(_flatten(value, path, where))
        elif isinstance(value, bool | int | float):
            found[path] = bool(value)
        else:
            raise InvalidQuery(f"{where}: takes 1 or 0, not {value!r}")
    return found


def _tree(paths: list[Path], place: str) -> Tree:
    refuse_overlap(paths, place)
    tree: Tree = {}
    for path in paths:
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = None
    return tree


def with_parents(projection: Projection, paths: Sequence[Path]) -> Projection:
    """Return a projection that also keeps the objects that lead to those paths, and makes them of array elements."""
    fields = _copy(projection.fields)
    for path in paths:
        node = fields
        for part in path[:-1]:
            node = node.setdefault(part, {})
            node[MISSING] = None
    return Projection(projection.keeps, fields)


def _copy(tree: Tree) -> Tree:
    return {name: below and _copy(below) for name, below in tree.items()}


def project(document: Tree, projection: Projection) -> Tree:
    """Return what a projection keeps of a document, which stays as it is, in the order that it has there."""
    return _kept(document, projection.fields) if projection.keeps else _left(document, projection.fields)


def _kept(document: Tree, tree: Tree) -> Tree:
    result: Tree = {}
    for name, value in document.items():
        if name not in tree:
            continue
        below = tree[name]
        if below is None:
            result[name] = value
        elif value.__class__ is dict:
            result[name] = _kept(value, below)
        elif value.__class__ is list:
            result[name] = _kept_of_array(value, below)
        elif MISSING in below:
            result[name] = {}
    return result


def _kept_of_array(array: list[Any], tree: Tree) -> list[Any]:
    kept: list[Any] = []
    for item in array:
        if item.__class__ is dict:
            kept.append(_kept(item, tree))
        elif item.__class__ is list:
            kept.append(_kept_of_array(item, tree))
        elif MISSING in tree:
            kept.append({})
    return kept


def _left(value: Any, tree: Tree) -> Any:
    if value.__class__ is list:
        return [_left(item, tree) for item in value]
    if value.__class__ is not dict:
        return value
    return {
        name: item if name not in tree else _left(item, tree[name])
        for name, item in value.items()
        if name not in tree or tree[name] is not None
    }
