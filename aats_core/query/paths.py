"""Dotted paths as filters, updates and pipelines write them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from aats_core.errors import InvalidQuery
from aats_core.query.filters import Path


def parse_path(path: object, place: str) -> Path:
    """Return the parts of a dotted path; raises `InvalidQuery` where it is none."""
    if not isinstance(path, str):
        raise InvalidQuery(f"{place}: a path is a string, not {path!r}")
    parts = tuple(path.split("."))
    if "" in parts or "\0" in path:
        raise InvalidQuery(f"{place}: {path!r} is not a path: it has an empty part or a NUL character")
    return parts


def refuse_overlap(paths: Iterable[Path], place: str) -> None:
    """Raise `InvalidQuery` where a path is named twice, or another path leads through it."""
    for one, other in itertools.pairwise(sorted(paths)):
        if other[: len(one)] == one:
            raise InvalidQuery(f"{place}: {'.'.join(other)} is named twice, the other time as {'.'.join(one)}")
