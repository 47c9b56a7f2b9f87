"""Applies a parsed update to a document in memory, and makes the document of an upsert."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation, Overflow
from operator import itemgetter
from typing import Any

from aats_core.errors import InvalidQuery
from aats_core.query.filters import And, Clause, Compare, Comparison, In, Or, Path
from aats_core.query.match import matcher, values_of
from aats_core.query.numbers import DECIMALS
from aats_core.query.paths import refuse_overlap
from aats_core.query.updates import (
    AddToSet,
    Bound,
    Changes,
    CurrentDate,
    Increment,
    Multiply,
    Pop,
    Pull,
    Push,
    Rename,
    SetValue,
    Unset,
)
from aats_core.query.values import (
    MAX_INT,
    MIN_INT,
    MISSING,
    NUMBER,
    as_decimal,
    equal,
    identical,
    rank,
    sort_key,
)

_MOST_PADDING = 1_500_000


def updated(document: dict[str, Any], changes: Changes, now: datetime, *, inserting: bool = False) -> dict[str, Any]:
    """Return a document as an update leaves it; the one given stays as it is.

    `now` (in UTC, to the millisecond) is what `$currentDate` writes; `inserting` lets `$setOnInsert` count. Raises
    `InvalidQuery` where an operation does not fit the value that it finds, or would change `_id`.
    """
    result: dict[str, Any] = _copy(document)
    for operation in changes.operations:
        if isinstance(operation, SetValue) and operation.on_insert and not inserting:
            continue
        step = SetValue(operation.path, now) if isinstance(operation, CurrentDate) else operation
        _APPLY[step.__class__](result, step)
    if "_id" in document and not identical(result.get("_id", MISSING), document["_id"]):
        raise InvalidQuery(f"update: the _id of a document cannot change, that of {document['_id']!r} would")
    return result


def is_modified(old: dict[str, Any], new: dict[str, Any], changes: Changes) -> bool:
    """Tell whether an update, which made the new document of the old one, counts as having modified it.

    It does where they differ, and also where something was written that was there already: an element that `$unset`
    makes null, and an array that `$push` puts together anew.
    """
    return not identical(old, new) or any(_rewrites(old, operation) for operation in changes.operations)


def _rewrites(document: dict[str, Any], operation: Any) -> bool:
    if isinstance(operation, Unset):
        return _get(document, operation.path) is not MISSING
    if isinstance(operation, Push):
        return bool(operation.values or (operation.sort and _get(document, operation.path)))
    return False


def upserted(filter: Clause, changes: Changes, now: datetime) -> dict[str, Any]:
    """Return the document that an upsert makes: the equalities of the filter, then the update.

    It has no `_id` where neither says one. Raises `InvalidQuery` where the filter asks for two values at one path.
    """
    document: dict[str, Any] = {}
    equalities = sorted(_equalities(filter), key=itemgetter(0))
    refuse_overlap([path for path, _ in equalities], "filter: an upsert needs one value for each path")
    for path, value in equalities:
        _put(document, path, value)
    result = updated({k: v for k, v in document.items() if k != "_id"}, changes, now, inserting=True)
    if "_id" in document:
        if "_id" in result and not equal(result["_id"], document["_id"]):
            raise InvalidQuery("update: the _id of an upsert differs from that of its filter")
        return {**result, "_id": document["_id"]}
    return result


def _equalities(clause: Clause) -> list[tuple[Path, Any]]:
    if isinstance(clause, And) or (isinstance(clause, Or) and len(clause.clauses) == 1):
        return [pair for each in clause.clauses for pair in _equalities(each)]
    if isinstance(clause, Compare) and clause.comparison is Comparison.EQ:
        return [(clause.path, clause.operand)]
    if isinstance(clause, In) and not clause.patterns and len(set(map(sort_key, values_of(clause)))) == 1:
        return [(clause.path, values_of(clause)[0])]
    return []


def _copy(value: Any) -> Any:
    if value.__class__ is dict:
        return {k: _copy(v) for k, v in value.items()}
    if value.__class__ is list:
        return [_copy(v) for v in value]
    return value


# Ways to a path. An update, unlike a filter, enters an array only by the index of an element.


def _index(part: str) -> int:
    return int(part) if part.isdecimal() else -1


def _child(node: Any, part: str) -> Any:
    if node.__class__ is dict:
        return node.get(part, MISSING)
    if node.__class__ is list:
        index = _index(part)
        return node[index] if 0 <= index < len(node) else MISSING
    return MISSING


def _get(document: dict[str, Any], path: Path) -> Any:
    node: Any = document
    for part in path:
        node = _child(node, part)
        if node is MISSING:
            return MISSING
    return node


def _get_strictly(document: dict[str, Any], path: Path, operator: str) -> Any:
    """Return what is at a path; raises `InvalidQuery` where something else than an object or element is in the way."""
    node: Any = document
    for part in path:
        if node.__class__ is not dict and (node.__class__ is not list or _index(part) < 0):
            raise InvalidQuery(f"update.{operator}.{'.'.join(path)}: cannot go on to {part!r} from {node!r}")
        node = _child(node, part)
        if node is MISSING:
            return MISSING
    return node


def _put(document: dict[str, Any], path: Path, value: Any) -> None:
    node: Any = document
    for depth, part in enumerate(path[:-1]):
        child = _child(node, part)
        if child is MISSING:
            child = {}
            _assign(node, part, child, path[: depth + 1])
        node = child
    _assign(node, path[-1], value, path)


def _assign(node: Any, part: str, value: Any, path: Path) -> None:
    if node.__class__ is dict:
        node[part] = value
        return
    if node.__class__ is not list:
        raise InvalidQuery(f"update: cannot make {'.'.join(path)}, its parent is {node!r}")
    index = _index(part)
    if index < 0:
        raise InvalidQuery(f"update: cannot make {'.'.join(path)}, its parent is an array and {part!r} no index")
    if index - len(node) > _MOST_PADDING:
        raise InvalidQuery(f"update: {'.'.join(path)} lies too far beyond the end of its array")
    node.extend([None] * (index + 1 - len(node)))
    node[index] = value


def _remove(document: dict[str, Any], path: Path) -> None:
    parent = _get(document, path[:-1])
    if parent.__class__ is dict:
        parent.pop(path[-1], None)
    elif parent.__class__ is list and 0 <= _index(path[-1]) < len(parent):
        parent[_index(path[-1])] = None


def _array_at(document: dict[str, Any], path: Path, operator: str) -> Any:
    value = _get_strictly(document, path, operator)
    if value is not MISSING and value.__class__ is not list:
        raise InvalidQuery(f"update.{operator}.{'.'.join(path)}: there is no array but {value!r}")
    return value


# What each operation does.


def _set(document: dict[str, Any], operation: SetValue) -> None:
    _put(document, operation.path, _copy(operation.value))


def _unset(document: dict[str, Any], operation: Unset) -> None:
    _remove(document, operation.path)


def _increment(document: dict[str, Any], operation: Increment) -> None:
    value = _number_at(document, operation.path, "$inc")
    _put(document, operation.path, operation.by if value is MISSING else _sum(value, operation.by, operation.path))


def _multiply(document: dict[str, Any], operation: Multiply) -> None:
    value = _number_at(document, operation.path, "$mul")
    _put(document, operation.path, _product(0 if value is MISSING else value, operation.by, operation.path))


def _number_at(document: dict[str, Any], path: Path, operator: str) -> Any:
    value = _get(document, path)
    if value is not MISSING and rank(value) != NUMBER:
        raise InvalidQuery(f"update.{operator}.{'.'.join(path)}: there is no number but {value!r}")
    return value


def _sum(left: Any, right: Any, path: Path) -> Any:
    if Decimal in (left.__class__, right.__class__):
        return _decimal(DECIMALS.add, left, right, path)
    return _fitting(left + right, path)


def _product(left: Any, right: Any, path: Path) -> Any:
    if Decimal in (left.__class__, right.__class__):
        return _decimal(DECIMALS.multiply, left, right, path)
    return _fitting(left * right, path)


def _decimal(compute: Callable[[Decimal, Decimal], Decimal], left: Any, right: Any, path: Path) -> Decimal:
    try:
        return compute(as_decimal(left), as_decimal(right))
    except (InvalidOperation, Overflow) as error:
        raise InvalidQuery(f"update: {'.'.join(path)} would be no decimal of 34 digits") from error


def _fitting(value: Any, path: Path) -> Any:
    if value.__class__ is int and not MIN_INT <= value <= MAX_INT:
        raise InvalidQuery(f"update: the integer at {'.'.join(path)} would not fit into 64 bits")
    return value


def _bound(document: dict[str, Any], operation: Bound) -> None:
    value = _get(document, operation.path)
    new = operation.value
    if value is MISSING or (sort_key(new) > sort_key(value) if operation.larger else sort_key(new) < sort_key(value)):
        _put(document, operation.path, _copy(new))


def _rename(document: dict[str, Any], operation: Rename) -> None:
    value = _get_strictly(document, operation.path, "$rename")
    if value is MISSING:
        return
    for path in (operation.path, operation.target):
        if any(_get(document, path[:end]).__class__ is list for end in range(1, len(path))):
            raise InvalidQuery(f"update.$rename: {'.'.join(path)} leads through an array")
    _remove(document, operation.path)
    _put(document, operation.target, value)


def _push(document: dict[str, Any], operation: Push) -> None:
    value = _array_at(document, operation.path, "$push")
    array: list[Any] = [] if value is MISSING else value
    at = len(array) if operation.position is None else operation.position
    array[at:at] = [_copy(item) for item in operation.values]
    if operation.sort:
        for path, direction in reversed(operation.sort):
            array.sort(key=lambda item, path=path: sort_key(_get(item, path)), reverse=direction < 0)  # type: ignore[misc]
    if operation.slice is not None:
        array[:] = array[: operation.slice] if operation.slice >= 0 else array[operation.slice :]
    if value is MISSING:
        _put(document, operation.path, array)


def _add_to_set(document: dict[str, Any], operation: AddToSet) -> None:
    value = _array_at(document, operation.path, "$addToSet")
    array: list[Any] = [] if value is MISSING else value
    held = set(map(sort_key, array))
    for item in operation.values:
        key = sort_key(item)
        if key not in held:
            held.add(key)
            array.append(_copy(item))
    if value is MISSING:
        _put(document, operation.path, array)


def _pull(document: dict[str, Any], operation: Pull) -> None:
    array = _array_at(document, operation.path, "$pull")
    if array is MISSING:
        return
    test = matcher(operation.clause)
    documents = operation.documents
    array[:] = [item for item in array if (documents and item.__class__ is not dict) or not test(item)]


def _pop(document: dict[str, Any], operation: Pop) -> None:
    array = _array_at(document, operation.path, "$pop")
    if array:
        array.pop(0 if operation.first else -1)


_APPLY: dict[type, Callable[[dict[str, Any], Any], None]] = {
    SetValue: _set,
    Unset: _unset,
    Increment: _increment,
    Multiply: _multiply,
    Bound: _bound,
    Rename: _rename,
    Push: _push,
    AddToSet: _add_to_set,
    Pull: _pull,
    Pop: _pop,
}
