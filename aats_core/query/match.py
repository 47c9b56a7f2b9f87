"""Evaluates a parsed filter on a document in memory; it is also what every store's compiled form is held against."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

from aats_core.errors import InvalidQuery
from aats_core.query.filters import (
    And,
    Clause,
    Compare,
    Comparison,
    ElemMatch,
    Exists,
    HasSize,
    HasType,
    In,
    Matches,
    Modulo,
    Not,
    Or,
    Path,
    Slot,
    Text,
)
from aats_core.query.search import search_test
from aats_core.query.values import ARRAY, MISSING, NULL, NUMBER, OBJECT, is_nan, rank, sort_key, type_name

Test: TypeAlias = Callable[[Any], bool]
"""Tells whether a value fulfils a condition."""

_ORDERED: dict[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.GT: operator.gt,
    Comparison.GTE: operator.ge,
    Comparison.LT: operator.lt,
    Comparison.LTE: operator.le,
}


def matcher(clause: Clause) -> Test:
    """Return a function that tells whether a document matches; build it once for many documents.

    Raises `InvalidQuery` for `$text` without the paths of a full-text index.
    """
    return _BUILDERS[clause.__class__](clause)


def _and(clause: And) -> Test:
    tests = [matcher(each) for each in clause.clauses]
    return lambda document: all(test(document) for test in tests)


def _or(clause: Or) -> Test:
    tests = [matcher(each) for each in clause.clauses]
    return lambda document: any(test(document) for test in tests)


def _not(clause: Not) -> Test:
    test = matcher(clause.clause)
    return lambda document: not test(document)


def _compare(clause: Compare) -> Test:
    return _at(clause.path, compare_test(clause.comparison, clause.operand), elements=True)


def compare_test(comparison: Comparison, operand: Any) -> Test:
    """Return a function that compares one value, without looking into arrays, with the operand."""
    kind = rank(operand)
    if comparison is Comparison.EQ:
        wanted = sort_key(operand)
        return lambda value: sort_key(value) == wanted
    if kind == NULL or is_nan(operand):
        if comparison in (Comparison.GT, Comparison.LT):
            return lambda _: False
        return compare_test(Comparison.EQ, operand)
    compare = _ORDERED[comparison]
    if kind == NUMBER:
        return lambda value: rank(value) == NUMBER and not is_nan(value) and compare(value, operand)
    key = sort_key(operand)
    return lambda value: rank(value) == kind and compare(sort_key(value), key)


def _in(clause: In) -> Test:
    keys = {sort_key(value) for value in values_of(clause)}
    patterns = clause.patterns

    def test(value: Any) -> bool:
        if sort_key(value) in keys:
            return True
        return value.__class__ is str and any(pattern.search(value) for pattern in patterns)

    return _at(clause.path, test, elements=True)


def values_of(clause: In) -> tuple[Any, ...]:
    """Return the values of a clause that has no slot."""
    assert not isinstance(clause.operands, Slot), "a clause with slots is bound before it is evaluated"
    return clause.operands


def _exists(clause: Exists) -> Test:
    return _at(clause.path, lambda value: value is not MISSING, elements=False)


def _has_type(clause: HasType) -> Test:
    types = clause.types
    return _at(clause.path, lambda value: type_name(value) in types, elements=True)


def _matches(clause: Matches) -> Test:
    search = clause.pattern.search
    return _at(clause.path, lambda value: value.__class__ is str and search(value) is not None, elements=True)


def equal_keys(document: Any, path: Path) -> set[tuple[Any, ...]]:
    """Return the keys (`sort_key`) of all values that a filter for equality at that path would find."""
    keys: set[tuple[Any, ...]] = set()

    def gather(value: Any) -> bool:
        keys.add(sort_key(value))
        return False

    _any_at(document, path, 0, gather, elements=True)
    return keys


def _modulo(clause: Modulo) -> Test:
    divisor, remainder = clause.divisor, clause.remainder

    def test(value: Any) -> bool:
        if rank(value) != NUMBER or not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            return False
        number = int(value)
        return (abs(number) % abs(divisor)) * (1 if number >= 0 else -1) == remainder

    return _at(clause.path, test, elements=True)


def _has_size(clause: HasSize) -> Test:
    size = clause.size
    return _at(clause.path, lambda value: value.__class__ is list and len(value) == size, elements=False)


def _elem_match(clause: ElemMatch) -> Test:
    test = matcher(clause.clause)
    documents = clause.documents

    def any_element(value: Any) -> bool:
        if value.__class__ is not list:
            return False
        if not documents:
            return any(map(test, value))
        return any(rank(element) in (OBJECT, ARRAY) and test(_as_object(element)) for element in value)

    return _at(clause.path, any_element, elements=False)


def _as_object(element: Any) -> Any:
    """Return an element as `$elemMatch` holds conditions to it: of an array, an object whose fields are the indexes."""
    return element if element.__class__ is dict else {str(index): each for index, each in enumerate(element)}


def _text(clause: Text) -> Test:
    if not clause.paths:
        raise InvalidQuery("$text: only a store with a full-text index over the collection can answer it")
    return search_test(clause)


def _at(path: Path, test: Test, *, elements: bool) -> Test:
    """Return a test of a document by what is at a path, with `elements` also by what an array there holds."""
    if not path:
        return test
    if len(path) > 1:
        return lambda document: _any_at(document, path, 0, test, elements)
    name = path[0]

    def single(document: Any) -> bool:
        if document.__class__ is not dict:
            return _any_at(document, path, 0, test, elements)
        value = document.get(name, MISSING)
        if elements and value.__class__ is list and any(map(test, value)):
            return True
        return test(value)

    return single


def _any_at(node: Any, path: Path, index: int, test: Test, elements: bool) -> bool:  # noqa: FBT001 - recursion
    """Tell whether some value that the rest of the path leads to passes, by MongoDB's rules of looking into arrays."""
    while index < len(path):
        if node.__class__ is dict:
            node = node.get(path[index], MISSING)
            if node is MISSING:
                return test(MISSING)
            index += 1
        elif node.__class__ is list:
            return _any_within(node, path, index, test, elements)
        else:
            return test(MISSING)
    if elements and node.__class__ is list and any(map(test, node)):
        return True
    return test(node)


def _any_within(array: list[Any], path: Path, index: int, test: Test, elements: bool) -> bool:  # noqa: FBT001
    """Go on within an array: into each of its objects, and into the element that a numeric part names."""
    part = path[index]
    if any(element.__class__ is dict and _any_at(element, path, index, test, elements) for element in array):
        return True
    position = int(part) if part.isdecimal() and (part == "0" or part[0] != "0") else -1
    if not 0 <= position < len(array):
        return False
    element = array[position]
    if index + 1 == len(path):
        return test(element)
    return element.__class__ in (dict, list) and _any_at(element, path, index + 1, test, elements)


_BUILDERS: dict[type, Callable[[Any], Test]] = {
    And: _and,
    Or: _or,
    Not: _not,
    Compare: _compare,
    In: _in,
    Exists: _exists,
    HasType: _has_type,
    Matches: _matches,
    Modulo: _modulo,
    HasSize: _has_size,
    ElemMatch: _elem_match,
    Text: _text,
}
