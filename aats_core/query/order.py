"""Orders documents by their fields, as `$sort` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query.filters import Path
from aats_core.query.values import MISSING, NULL, sort_key

Key: TypeAlias = tuple[Any, ...]

_EMPTY_ARRAY: Key = (0,)
_NULL: Key = (NULL,)


def sorted_by(documents: Iterable[Any], sort: Sequence[tuple[Path, int]]) -> list[Any]:
    """Return documents in the order of those paths, each 1 ascending or -1 descending; equal ones keep their order.

    An array counts as its least element where ascending and as its greatest where descending; an empty one comes
    before null. Where several paths lead into one array, their values of the same element belong together. Raises
    `InvalidQuery` where two paths lead into different arrays, of whose elements nobody can tell which belong together.
    """
    directions = [direction for _, direction in sort]
    keyed = [(document, _first_key(document, [path for path, _ in sort], directions)) for document in documents]
    for number in reversed(range(len(sort))):
        keyed.sort(key=lambda pair, number=number: pair[1][number], reverse=directions[number] < 0)  # type: ignore[misc]
    return list(map(itemgetter(0), keyed))


def path_key(document: Any, path: Path, *, down: bool) -> Key:
    """Return the key by which a document sorts at a path."""
    (key,) = _first_key(document, [path], [-1 if down else 1])
    return key


def _first_key(document: Any, paths: Sequence[Path], directions: Sequence[int]) -> list[Key]:
    """Return what a document sorts by, one key for each path: of what its arrays offer, what comes first."""
    offered = list(_keys([_Way(document, path, ()) for path in paths], document))
    key = []
    for number, direction in enumerate(directions):
        best = (max if direction < 0 else min)(each[number] for each in offered)
        offered = [each for each in offered if each[number] == best]
        key.append(best)
    return key


class _Way(msgspec.Struct, frozen=True):
    """How far a path has led: to a node, which it reached over these names and positions, and what of it is left."""

    node: Any
    rest: Path
    over: Path

    def followed(self) -> _Way:
        """Return the way to its end, to nothing, or to the first array on it."""
        node, rest, over = self.node, self.rest, self.over
        while rest and node.__class__ is dict:
            node, rest, over = node.get(rest[0], MISSING), rest[1:], (*over, rest[0])
        if rest and node.__class__ is not list:
            return _Way(MISSING, (), over)
        return _Way(node, rest, over)

    @property
    def position(self) -> int:
        """The element of its array that it names, or -1."""
        named = int(self.rest[0]) if self.rest and self.rest[0].isdecimal() else -1
        return named if named < len(self.node) else -1

    def into(self, position: int) -> _Way | Key:
        """Return the way on from an element of its array, or the key at which it ends."""
        if self.node.__class__ is not list:
            return sort_key(self.node)
        if not self.node:
            return _NULL if self.rest else _EMPTY_ARRAY
        if self.position >= 0:
            named, rest = self.node[self.position], self.rest[1:]
            if named and not rest and named.__class__ is list:
                return sort_key(named)  # whole, as what is named by its position is not looked into
            return _Way(named, rest, (*self.over, str(self.position)))
        element = self.node[position]
        if not self.rest:
            return sort_key(element)
        return _Way(element, self.rest, (*self.over, str(position))) if element.__class__ is dict else _NULL


def _keys(ways: Sequence[_Way | Key], document: Any) -> Iterator[list[Key]]:
    """Yield the keys of a document, one list for each element of the arrays on its ways."""
    followed = [way.followed() if isinstance(way, _Way) else way for way in ways]
    within = [way for way in followed if isinstance(way, _Way) and way.node.__class__ is list]
    if not within:
        yield [sort_key(way.node) if isinstance(way, _Way) else way for way in followed]
        return
    if len({way.over for way in within}) > 1:
        names = " and ".join(sorted({".".join(way.over) for way in within}))
        raise InvalidQuery(f"sort: document {document.get('_id')!r} has arrays at {names}; sort by one of them")
    for position in _positions(within):
        yield from _keys([way.into(position) if isinstance(way, _Way) else way for way in followed], document)


def _positions(within: Sequence[_Way]) -> Iterable[int]:
    """Return the elements to look at: all of them, or one where every way names the one it goes to."""
    if all(way.position >= 0 for way in within) or not within[0].node:
        return (0,)
    return range(len(within[0].node))


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
