"""Indexes as ordered sets of texts: what a document has in one, and which part of one a filter has to look at.

An entry is the key of each indexed field in turn, every one of them ended by `END`; the store adds whose it is. Entries
may be the same for values that are not: they only narrow down which documents can match.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from aats_core.errors import InvalidDocument
from aats_core.query import values
from aats_core.query.filters import And, Clause, Compare, Comparison, In, Or, Path, Text
from aats_core.query.match import equal_keys, values_of
from aats_core.query.search import texts_at, words_of
from aats_core.query.values import is_nan, rank, sort_key
from aats_core.storage.collection import KnownCollection
from aats_core.storage.evaluated.keys import LETTERS, NAN, number_key, scalar_key
from aats_core.store import Document, Index

END = "\0"
_AFTER_END = "\1"
_ESCAPES = str.maketrans({"\0": "\1\1", "\1": "\1\2"})
_LONGEST = 200
_MOST_ENTRIES = 10_000
_MOST_RANGES = 200

_SEVERAL = "z"
"""The key of a field that holds several values, of which different ones may fulfil the conditions of a filter."""


class Range(NamedTuple):
    """Part of the index of that number: its entries from `low` on and before `high`."""

    number: int
    low: str
    high: str


Span = tuple[str, str]
"""Keys of one field, from the first on and before the second."""


def entries_of(collection: KnownCollection, document: Document) -> list[list[str]]:
    """Return what a document has in each index; raises `InvalidDocument` where its arrays make it too much."""
    return [_entries(collection.name, index, document) for index in collection.schema.indexes]


def _entries(name: str, index: Index, document: Document) -> list[str]:
    paths = _paths(index)
    if index.text:
        words = {word for text in texts_at(document, paths) for word in text}
        return [_field(word) + END for word in words]
    keys = [_field_keys(document, path) for path in paths]
    count = 1
    for each in keys:
        count *= len(each)
    if count > _MOST_ENTRIES:
        raise InvalidDocument(
            f"{name}: document {document.get('_id')!r} has {count} entries in the index over {', '.join(index.fields)};"
            f" {_MOST_ENTRIES} are the most"
        )
    return ["".join(key + END for key in row) for row in itertools.product(*keys)]


def _paths(index: Index) -> list[Path]:
    return [tuple(field.split(".")) for field in index.fields]


def _field_keys(document: Document, path: Path) -> set[str]:
    """Return the keys of all values at a path that a filter looks at."""
    found = equal_keys(document, path)
    keys = {_key(key) for key in found}
    return keys if len(found) == 1 else {*keys, _SEVERAL}


def _key(key: tuple[Any, ...]) -> str:
    kind = key[0]
    if kind in (values.NULL, values.OBJECT, values.ARRAY):
        return LETTERS[kind]
    if kind == values.NUMBER:
        return number_key(key[2]) if len(key) > 2 else NAN
    return _field(scalar_key(key[-1]))


def _field(text: str) -> str:
    return text[:_LONGEST].translate(_ESCAPES)


def ranges_for(collection: KnownCollection, clause: Clause) -> list[Range] | None:
    """Return the parts of indexes that hold every document that can match, or None where no index helps."""
    best = _best(collection, clause)
    return None if best is None else best[1]


Rated = tuple[int, list[Range]]
"""Parts of indexes, and how much they are expected to leave out."""


def _best(collection: KnownCollection, clause: Clause) -> Rated | None:
    conditions = list(_all_of(clause))
    found = [_over(number, index, conditions) for number, index in enumerate(collection.schema.indexes)]
    found += [_either(collection, each) for each in conditions if isinstance(each, Or)]
    return max((each for each in found if each is not None), key=lambda rated: rated[0], default=None)


def _all_of(clause: Clause) -> Iterator[Clause]:
    """Yield conditions that all have to hold."""
    if isinstance(clause, And) or (isinstance(clause, Or) and len(clause.clauses) == 1):
        for each in clause.clauses:
            yield from _all_of(each)
    else:
        yield clause


def _either(collection: KnownCollection, clause: Or) -> Rated | None:
    ranges: list[Range] = []
    worst = _POINT
    for each in clause.clauses:
        found = _best(collection, each)
        if found is None:
            return None
        worst = min(worst, found[0])
        ranges += found[1]
    return (worst - 1, ranges) if len(ranges) <= _MOST_RANGES else None


_POINT, _PART, _WORDS = 4, 2, 3


def _over(number: int, index: Index, conditions: Sequence[Clause]) -> Rated | None:
    if index.text:
        return _words(number, conditions)
    prefixes, rating, ranges = [""], 0, None
    for path in _paths(index):
        spans = _spans(path, conditions)
        if spans is None or len(prefixes) * len(spans) > _MOST_RANGES:
            break
        ranges = [Range(number, prefix + low, prefix + high) for prefix in prefixes for low, high in spans]
        if not all(high == low[:-1] + _AFTER_END for low, high in spans):
            rating += _PART
            break
        rating += _POINT
        prefixes = [prefix + low for prefix in prefixes for low, _ in spans]
    return None if ranges is None else (rating, ranges)


def _words(number: int, conditions: Sequence[Clause]) -> Rated | None:
    for each in conditions:
        if isinstance(each, Text):
            wanted = [max(words, key=len, default="") for words in map(words_of, each.phrases)][:1]
            wanted = wanted or [word for text in each.words for word in words_of(text)]
            spans = dict.fromkeys(_exactly(_field(word)) for word in wanted)
            return _WORDS, [Range(number, low, high) for low, high in spans]
    return None


def _spans(path: Path, conditions: Iterable[Clause]) -> list[Span] | None:
    """Return which keys the conditions on a path leave, or None where there are no such conditions."""
    found = [spans for each in conditions if (spans := _spans_of(path, each)) is not None]
    if len(found) < 2:
        return found[0] if found else None
    spans, *rest = found
    for others in rest:
        both = [(max(a[0], b[0]), min(a[1], b[1])) for a in spans for b in others]
        spans = [span for span in both if span[0] < span[1]]
    return [*spans, _exactly(_SEVERAL)]


def _spans_of(path: Path, clause: Clause) -> list[Span] | None:
    if isinstance(clause, Compare) and clause.path == path:
        return [_span(clause.comparison, clause.operand)]
    if isinstance(clause, In) and clause.path == path and not clause.patterns:
        return list(dict.fromkeys(_exactly(_key(sort_key(value))) for value in values_of(clause)))
    return None


def _span(comparison: Comparison, operand: Any) -> Span:
    kind = rank(operand)
    key = _key(sort_key(operand))
    if comparison is Comparison.EQ or kind == values.NULL or is_nan(operand):
        return _exactly(key)
    letter = key[0]
    if comparison in (Comparison.GT, Comparison.GTE):
        return key + END, chr(ord(letter) + 1)
    return letter, key + _AFTER_END


def _exactly(key: str) -> Span:
    return key + END, key + _AFTER_END
