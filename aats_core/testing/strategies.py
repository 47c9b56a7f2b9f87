"""Hypothesis strategies for documents and for the queries over them, made so that they often meet.

Field names and values come from small pools: a generated filter matches a generated document often enough, numbers
of all types are equal to each other, and the edges of each type occur.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from aats_core.query.values import MAX_INT, MIN_INT, TYPE_NAMES

NAMES = ("a", "b", "c")
"""The field names that documents and paths are made of."""

_NUMBERS = (
    *(0, 1, -1, 2, 3, 7, -5, 2**31, 2**53 + 1, MAX_INT, MIN_INT),
    *(0.0, 1.0, -1.0, 1.5, 2.0, -7.5, 1e300, float(2**53), math.nan, math.inf, -math.inf),
    *map(Decimal, ("0", "1", "1.10", "1.1", "-5", "0.1", "1.0000000000000000000001", "9007199254740993", "NaN")),
)
_STRINGS = (
    "",
    "a",
    "b",
    "ab",
    "abc",
    "B",
    "a.b",
    "\u00e9",
    "\ue000",
    "\U0001f600",
    "\U0010ffff",
    "\U0010ffffx",
    "0",
    "[1]",
)
_BYTES = (b"", b"a", b"b", b"ab", b"\x00\xff")
_DATES = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC),
    datetime(2026, 2, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
)
_PATTERNS = ("^a", "b$", "^ab", "a.c", "", "^$", "[0-9]", "a|B")


def names() -> st.SearchStrategy[str]:
    """Names of fields."""
    return st.sampled_from(NAMES)


def numbers() -> st.SearchStrategy[Any]:
    """Integers, floats and decimals, equal ones and the largest among them."""
    return st.sampled_from(_NUMBERS)


def strings() -> st.SearchStrategy[str]:
    """Strings."""
    return st.sampled_from(_STRINGS)


def dates() -> st.SearchStrategy[datetime]:
    """Instants, to the millisecond."""
    return st.sampled_from(_DATES)


def ids() -> st.SearchStrategy[Any]:
    """Values for `_id`, some of which equal each other, and arrays, which cannot be one."""
    return st.one_of(st.integers(0, 4), scalars(), values())


def scalars() -> st.SearchStrategy[Any]:
    """Values that are neither objects nor arrays, of every type."""
    return st.one_of(
        st.none(),
        st.booleans(),
        numbers(),
        strings(),
        st.sampled_from(_BYTES),
        dates(),
    )


def values() -> st.SearchStrategy[Any]:
    """Values of every type, nested."""
    return st.recursive(
        scalars(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(names(), inner, max_size=3),
        ),
        max_leaves=6,
    )


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Documents without an `_id`."""
    return st.dictionaries(names(), values(), max_size=3)


def paths() -> st.SearchStrategy[str]:
    """Dotted paths, sometimes with the index of an array."""
    return st.lists(st.sampled_from((*NAMES, *NAMES, "0", "1")), min_size=1, max_size=3).map(_path)


def _path(parts: list[str]) -> str:
    return ".".join([parts[0] if parts[0] in NAMES else "a", *parts[1:]])


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    """Objects of one operator that filters may hold for a field, or that `$elemMatch` applies to a value."""
    comparison = st.sampled_from(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"))
    types = st.lists(st.sampled_from(sorted(TYPE_NAMES)), min_size=1, max_size=2)
    simple = st.one_of(
        st.builds(lambda name, value: {name: value}, comparison, values()),
        st.builds(lambda name, many: {name: many}, st.sampled_from(("$in", "$nin")), st.lists(values(), max_size=3)),
        st.booleans().map(lambda there: {"$exists": there}),
        types.map(lambda wanted: {"$type": wanted}),
        st.sampled_from(_PATTERNS).map(lambda pattern: {"$regex": pattern}),
        st.sampled_from(_PATTERNS).map(lambda pattern: {"$regex": pattern, "$options": "i"}),
        st.builds(lambda d, r: {"$mod": [d, r]}, st.sampled_from((1, 2, 3, -2)), st.integers(-2, 2)),
        st.integers(0, 3).map(lambda size: {"$size": size}),
        st.lists(values(), min_size=1, max_size=2).map(lambda many: {"$all": many}),
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            inner.map(lambda condition: {"$not": condition}),
            inner.map(lambda condition: {"$elemMatch": condition}),
            st.builds(lambda path, condition: {"$elemMatch": {path: condition}}, paths(), inner),
        ),
        max_leaves=2,
    )


def filters() -> st.SearchStrategy[dict[str, Any]]:
    """Filters over what `documents` makes, without `$text`."""
    field = st.builds(lambda path, operand: {path: operand}, paths(), st.one_of(values(), conditions()))
    fields = st.lists(field, max_size=2).map(lambda each: {k: v for one in each for k, v in one.items()})
    return st.recursive(
        fields,
        lambda inner: st.builds(
            lambda name, each: {name: each},
            st.sampled_from(("$and", "$or", "$nor")),
            st.lists(inner, min_size=1, max_size=2),
        ),
        max_leaves=3,
    )


def sorts() -> st.SearchStrategy[dict[str, int]]:
    """Orders by one or two fields."""
    return st.dictionaries(paths(), st.sampled_from((1, -1)), min_size=1, max_size=2)


def updates() -> st.SearchStrategy[dict[str, Any]]:
    """Updates of one or two operators; some cannot be applied to some documents, and some not at all."""
    return st.lists(_operations(), min_size=1, max_size=2).map(
        lambda each: {k: v for one in each for k, v in one.items()}
    )


def _operations() -> st.SearchStrategy[dict[str, Any]]:
    pushed = st.fixed_dictionaries(
        {"$each": st.lists(values(), max_size=3)},
        optional={"$position": st.integers(-2, 3), "$slice": st.integers(-3, 3), "$sort": st.sampled_from((1, -1))},
    )
    several = st.fixed_dictionaries({"$each": st.lists(values(), max_size=3)})
    operands: dict[str, st.SearchStrategy[Any]] = {
        "$set": values(),
        "$setOnInsert": values(),
        "$unset": st.just(""),
        "$inc": numbers(),
        "$mul": numbers(),
        "$min": values(),
        "$max": values(),
        "$rename": paths(),
        "$push": st.one_of(values(), pushed),
        "$addToSet": st.one_of(values(), several),
        "$pull": st.one_of(values(), conditions().filter(lambda condition: "$not" not in condition)),
        "$pullAll": st.lists(values(), max_size=2),
        "$pop": st.sampled_from((1, -1)),
    }
    return st.one_of(*(_operator(name, operand) for name, operand in operands.items()))


def _operator(name: str, operand: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(paths(), operand, min_size=1, max_size=2).map(lambda fields: {name: fields})
