"""Orders documents by their fields, as `$sort` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from aats_core.query.filters import Path
from aats_core.query.values import MISSING, sort_key

_EMPTY_ARRAY: tuple[Any, ...] = (0,)


def sorted_by(documents: Iterable[Any], sort: Sequence[tuple[Path, int]]) -> list[Any]:
    """Return documents in the order of those paths, each 1 ascending or -1 descending; equal ones keep their order.

    An array counts as its least element where ascending and as its greatest where descending; an empty one comes
    before null.
    """
    result = list(documents)
    for path, direction in reversed(sort):
        down = direction < 0
        result.sort(key=partial(path_key, path=path, down=down), reverse=down)
    return result


def path_key(document: Any, path: Path, *, down: bool) -> tuple[Any, ...]:
    """Return the key by which a document sorts at a path."""
    keys = [key for value in values_at(document, path) for key in _keys(value)]
    return max(keys) if down else min(keys)


def _keys(value: Any) -> list[tuple[Any, ...]]:
    if value.__class__ is not list:
        return [sort_key(value)]
    return [sort_key(element) for element in value] if value else [_EMPTY_ARRAY]


def values_at(node: Any, path: Path) -> list[Any]:
    """Return what is at a path, one value for each object of the arrays on the way; `MISSING` where nothing is."""
    for depth, part in enumerate(path):
        if node.__class__ is dict:
            node = node.get(part, MISSING)
        elif node.__class__ is list:
            return _values_within(node, path[depth:])
        else:
            return [MISSING]
    return [node]


def _values_within(array: list[Any], path: Path) -> list[Any]:
    if path[0].isdecimal() and int(path[0]) < len(array):
        return values_at(array[int(path[0])], path[1:])
    found = [v for e in array for v in (values_at(e, path) if e.__class__ is dict else [MISSING])]
    return found or [MISSING]
