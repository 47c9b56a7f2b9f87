"""Reads an update into its parsed form, and says of everything that is wrong with it what and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from aats_core.errors import InvalidQuery
from aats_core.query.filters import Compare, Comparison, In, Path
from aats_core.query.parse_filter import (
    is_operators,
    parse_conditions,
    parse_filter,
    parse_value,
)
from aats_core.query.paths import parse_path, refuse_overlap
from aats_core.query.updates import (
    AddToSet,
    Bound,
    Changes,
    CurrentDate,
    Increment,
    Multiply,
    Operation,
    Pop,
    Pull,
    Push,
    Rename,
    SetValue,
    Unset,
)


def parse_update(update: Mapping[str, Any], place: str = "update") -> Changes:
    """Return the parsed form of an update; raises `InvalidQuery` where it is not one."""
    if not isinstance(update, Mapping) or not update:
        raise InvalidQuery(f"{place}: an update is an object of operators, not {update!r}")
    operations: list[Operation] = []
    for name, fields in update.items():
        where = f"{place}.{name}"
        parse = _OPERATORS.get(name)
        if parse is None:
            hint = "" if str(name).startswith("$") else "; to replace a document, write it as a whole"
            raise InvalidQuery(f"{where}: unknown operator {name}; known are {', '.join(sorted(_OPERATORS))}{hint}")
        if not isinstance(fields, Mapping):
            raise InvalidQuery(f"{where}: takes an object of paths, not {fields!r}")
        for field, operand in fields.items():
            path = _target(field, f"{where}.{field}")
            operations.append(parse(path, operand, f"{where}.{field}"))
    operations.sort(key=lambda operation: _natural(_written(operation)))
    touched = [operation.path for operation in operations]
    refuse_overlap(touched + [o.target for o in operations if isinstance(o, Rename)], place)
    return Changes(tuple(operations))


def _written(operation: Operation) -> Path:
    return operation.target if isinstance(operation, Rename) else operation.path


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in path]


def _target(field: object, place: str) -> Path:
    path = parse_path(field, place)
    if any(part.startswith("$") for part in path):
        raise InvalidQuery(f"{place}: positional operators and names that begin with $ cannot be updated")
    return path


def _set(path: Path, operand: Any, place: str) -> Operation:
    return SetValue(path, parse_value(operand, place))


def _set_on_insert(path: Path, operand: Any, place: str) -> Operation:
    return SetValue(path, parse_value(operand, place), on_insert=True)


def _unset(path: Path, _operand: Any, _place: str) -> Operation:
    return Unset(path)


def _number(operand: Any, place: str) -> Any:
    if isinstance(operand, bool) or not isinstance(operand, int | float | Decimal):
        raise InvalidQuery(f"{place}: takes a number, not {operand!r}")
    return parse_value(operand, place)


def _increment(path: Path, operand: Any, place: str) -> Operation:
    return Increment(path, _number(operand, place))


def _multiply(path: Path, operand: Any, place: str) -> Operation:
    return Multiply(path, _number(operand, place))


def _min(path: Path, operand: Any, place: str) -> Operation:
    return Bound(path, parse_value(operand, place), larger=False)


def _max(path: Path, operand: Any, place: str) -> Operation:
    return Bound(path, parse_value(operand, place), larger=True)


def _rename(path: Path, operand: Any, place: str) -> Operation:
    return Rename(path, _target(operand, place))


def _push(path: Path, operand: Any, place: str) -> Operation:
    if not isinstance(operand, Mapping) or "$each" not in operand:
        _refuse_modifiers(operand, place)
        return Push(path, (parse_value(operand, place),))
    for name in operand:
        if name not in ("$each", "$position", "$slice", "$sort"):
            raise InvalidQuery(f"{place}.{name}: unknown modifier; known are $each, $position, $slice and $sort")
    return Push(
        path,
        _values(operand["$each"], f"{place}.$each"),
        position=_whole(operand.get("$position"), f"{place}.$position"),
        slice=_whole(operand.get("$slice"), f"{place}.$slice"),
        sort=_sort(operand["$sort"], f"{place}.$sort") if "$sort" in operand else (),
    )


def _refuse_modifiers(operand: Any, place: str) -> None:
    if is_operators(operand):
        raise InvalidQuery(f"{place}.{next(iter(operand))}: a modifier needs $each beside it")


def _whole(operand: Any, place: str) -> int | None:
    if operand is None or (isinstance(operand, int) and not isinstance(operand, bool)):
        return operand
    raise InvalidQuery(f"{place}: takes a whole number, not {operand!r}")


def _values(operand: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(operand, list | tuple):
        raise InvalidQuery(f"{place}: takes an array, not {operand!r}")
    return tuple(parse_value(item, f"{place}.{index}") for index, item in enumerate(operand))


def _sort(operand: Any, place: str) -> tuple[tuple[Path, int], ...]:
    if operand in (1, -1) and not isinstance(operand, bool):
        return (((), int(operand)),)
    return parse_sort(operand, place)


def parse_sort(sort: Any, place: str) -> tuple[tuple[Path, int], ...]:
    """Return the fields to sort by and their directions, 1 or -1; raises `InvalidQuery` on anything else."""
    if not isinstance(sort, Mapping):
        raise InvalidQuery(f"{place}: takes an object of paths, each 1 or -1, not {sort!r}")
    for field, direction in sort.items():
        if isinstance(direction, bool) or direction not in (1, -1):
            raise InvalidQuery(f"{place}.{field}: takes 1 (ascending) or -1 (descending), not {direction!r}")
    return tuple((parse_path(field, f"{place}.{field}"), int(direction)) for field, direction in sort.items())


def _add_to_set(path: Path, operand: Any, place: str) -> Operation:
    if not isinstance(operand, Mapping) or "$each" not in operand:
        _refuse_modifiers(operand, place)
        return AddToSet(path, (parse_value(operand, place),))
    if len(operand) > 1:
        raise InvalidQuery(f"{place}: $each stands alone")
    return AddToSet(path, _values(operand["$each"], f"{place}.$each"))


def _pull(path: Path, operand: Any, place: str) -> Operation:
    if isinstance(operand, Mapping) and (not is_operators(operand) or next(iter(operand)) in ("$and", "$or", "$nor")):
        return Pull(path, parse_filter(operand, place), documents=True)
    if is_operators(operand) or isinstance(operand, re.Pattern):
        return Pull(path, parse_conditions((), operand, place), documents=False)
    return Pull(path, Compare((), Comparison.EQ, parse_value(operand, place)), documents=False)


def _pull_all(path: Path, operand: Any, place: str) -> Operation:
    return Pull(path, In((), _values(operand, place)), documents=False)


def _pop(path: Path, operand: Any, place: str) -> Operation:
    if isinstance(operand, bool) or operand not in (1, -1):
        raise InvalidQuery(f"{place}: takes 1 (the last) or -1 (the first), not {operand!r}")
    return Pop(path, first=operand == -1)


def _current_date(path: Path, operand: Any, place: str) -> Operation:
    if operand is not True and operand != {"$type": "date"}:
        raise InvalidQuery(f"{place}: takes true or {{'$type': 'date'}}, not {operand!r}")
    return CurrentDate(path)


_OPERATORS: dict[str, Callable[[Path, Any, str], Operation]] = {
    "$set": _set,
    "$setOnInsert": _set_on_insert,
    "$unset": _unset,
    "$inc": _increment,
    "$mul": _multiply,
    "$min": _min,
    "$max": _max,
    "$rename": _rename,
    "$push": _push,
    "$addToSet": _add_to_set,
    "$pull": _pull,
    "$pullAll": _pull_all,
    "$pop": _pop,
    "$currentDate": _current_date,
}
