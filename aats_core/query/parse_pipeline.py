"""Reads a pipeline into its parsed form, and says of everything that is wrong with it what and where."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aats_core.errors import InvalidQuery
from aats_core.query.accumulators import ACCUMULATORS
from aats_core.query.expressions import Call, Expression, Literal, parse_expression
from aats_core.query.filters import Path
from aats_core.query.parse_filter import is_operators, parse_filter, parse_value
from aats_core.query.parse_update import parse_sort
from aats_core.query.paths import parse_path, refuse_overlap
from aats_core.query.pipelines import (
    AddFields,
    Count,
    Facet,
    Group,
    Limit,
    Lookup,
    Match,
    Pipeline,
    Project,
    ReplaceRoot,
    Skip,
    Sort,
    Stage,
    Unwind,
)
from aats_core.query.projection import Projection, parse_projection, with_parents
from aats_core.query.values import sort_key

_ID = "_id"
_BY_ID = (((_ID,), 1),)
_NOTHING = Projection(keeps=True, fields={})
_PAGES = (Skip, Limit)
_CUTS: dict[type, tuple[type, ...]] = {
    Sort: (Match,),
    **dict.fromkeys((Project, AddFields, ReplaceRoot, Lookup), _PAGES),
}
"""What may come before a stage although it was written after it, and the outcome be the same."""


def parse_pipeline(pipeline: Sequence[Mapping[str, Any]], place: str = "pipeline") -> Pipeline:
    """Return the parsed form of a pipeline; raises `InvalidQuery` where it is not one."""
    if isinstance(pipeline, str) or not isinstance(pipeline, Sequence):
        raise InvalidQuery(f"{place}: a pipeline is an array of stages, not {pipeline!r}")
    parsed = [stage for index, item in enumerate(pipeline) for stage in _stage(item, f"{place}.{index}")]
    return _with_early_cuts(parsed)


def _with_early_cuts(stages: list[Stage]) -> Pipeline:
    """Have stages that leave documents out come before those that would sort or make what is left out then.

    Of orders that follow each other the last counts.
    """
    for index in range(1, len(stages)):
        at = index
        while at and isinstance(stages[at], _CUTS.get(type(stages[at - 1]), ())):
            stages[at - 1], stages[at] = stages[at], stages[at - 1]
            at -= 1
    pairs = itertools.zip_longest(stages, stages[1:])
    return tuple(stage for stage, after in pairs if not (isinstance(stage, Sort) and isinstance(after, Sort)))


def _stage(stage: object, place: str) -> Sequence[Stage]:
    if not isinstance(stage, Mapping) or len(stage) != 1:
        raise InvalidQuery(f"{place}: a stage is an object of one operator, not {stage!r}")
    name, operand = next(iter(stage.items()))
    parse = _STAGES.get(name)
    if parse is None:
        raise InvalidQuery(f"{place}.{name}: unknown stage {name}; known are {', '.join(sorted(_STAGES))}")
    parsed = parse(operand, f"{place}.{name}")
    return parsed if isinstance(parsed, tuple) else (parsed,)


def _object(operand: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(operand, Mapping) or not operand:
        raise InvalidQuery(f"{place}: takes an object with at least one field, not {operand!r}")
    return operand


def _only(operand: Any, required: set[str], optional: set[str], place: str) -> Mapping[str, Any]:
    known = required | optional
    if not isinstance(operand, Mapping) or not required <= set(operand) <= known:
        raise InvalidQuery(f"{place}: takes {', '.join(sorted(known))}, of which needed: {', '.join(sorted(required))}")
    return operand


def _match(operand: Any, place: str) -> Stage:
    return Match(parse_filter(operand, place))


def _project(operand: Any, place: str) -> Stage:
    kept: dict[str, Any] = {}
    computed: list[tuple[Path, Expression]] = []
    leaves = list(_leaves(_object(operand, place), (), place))
    for path, value in leaves:
        if isinstance(value, bool | int | float):
            kept[".".join(path)] = value
        else:
            computed.append((path, parse_expression(value, f"{place}.{'.'.join(path)}")))
    if not computed:
        return Project(parse_projection(kept, place))
    if not all(value or name == _ID for name, value in kept.items()):
        raise InvalidQuery(f"{place}: fields cannot be left out beside computed ones; only _id can")
    paths = [path for path, _ in leaves]
    refuse_overlap(paths, place)
    with_id = {} if _ID in kept or any(path == (_ID,) for path, _ in computed) else {_ID: 1}
    wanted = {name: value for name, value in {**with_id, **kept}.items() if value}
    projection = parse_projection({_ID: 0, **wanted} if _ID not in wanted else wanted, place) if wanted else _NOTHING
    return Project(with_parents(projection, [path for path, _ in computed]), _in_order(computed, paths))


def _in_order(
    computed: Sequence[tuple[Path, Expression]], paths: Sequence[Path]
) -> tuple[tuple[Path, Expression], ...]:
    """Return computed fields in the order in which objects get them: each object's where it was first named."""
    first: dict[Path, int] = {}
    for number, path in enumerate(paths):
        for end in range(1, len(path) + 1):
            first.setdefault(path[:end], number)
    return tuple(sorted(computed, key=lambda field: [first[field[0][:end]] for end in range(1, len(field[0]) + 1)]))


def _leaves(fields: Mapping[str, Any], above: Path, place: str) -> Iterator[tuple[Path, Any]]:
    """Yield the paths and operands of fields that may be nested as objects."""
    for name, value in fields.items():
        path = above + parse_path(name, f"{place}.{name}")
        if name.startswith("$"):
            raise InvalidQuery(f"{place}.{name}: a field's name cannot begin with $")
        if not isinstance(value, Mapping) or is_operators(value):
            yield path, value
        else:
            yield from _leaves(_object(value, f"{place}.{name}"), path, f"{place}.{name}")


def _add_fields(operand: Any, place: str) -> Stage:
    leaves = list(_leaves(_object(operand, place), (), place))
    paths = [path for path, _ in leaves]
    refuse_overlap(paths, place)
    computed = [(path, parse_expression(value, f"{place}.{'.'.join(path)}")) for path, value in leaves]
    return AddFields(_in_order(computed, paths))


def _unset(operand: Any, place: str) -> Stage:
    names = [operand] if isinstance(operand, str) else operand
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidQuery(f"{place}: takes a path or an array of paths, not {operand!r}")
    refuse_overlap([parse_path(name, place) for name in names], place)
    return Project(parse_projection(dict.fromkeys(names, 0), place))


def _replace_root(operand: Any, place: str) -> Stage:
    fields = _only(operand, {"newRoot"}, set(), place)
    return ReplaceRoot(parse_expression(fields["newRoot"], f"{place}.newRoot"))


def _replace_with(operand: Any, place: str) -> Stage:
    return ReplaceRoot(parse_expression(operand, place))


def _group(operand: Any, place: str) -> Stage:
    if _ID not in _object(operand, place):
        raise InvalidQuery(f"{place}: needs an _id to group by; null makes one group of all")
    by = operand[_ID]
    if (
        isinstance(by, Mapping)
        and not is_operators(by)
        and any(isinstance(each, bool | int | float) for each in by.values())
    ):
        raise InvalidQuery(f"{place}._id: its fields are paths that begin with $ or operators, not numbers: {by!r}")
    fields = {name: value for name, value in operand.items() if name != _ID}
    return Group(parse_expression(by, f"{place}._id"), _accumulated(fields, place))


def _accumulated(fields: Mapping[str, Any], place: str) -> tuple[tuple[str, str, Expression], ...]:
    found = []
    for name, value in fields.items():
        where = f"{place}.{name}"
        if "." in name or name.startswith("$"):
            raise InvalidQuery(f"{where}: the name of a field here holds no dot and does not begin with $")
        if not isinstance(value, Mapping) or len(value) != 1:
            raise InvalidQuery(f"{where}: takes an object of one accumulator, not {value!r}")
        accumulator, expression = next(iter(value.items()))
        if accumulator not in ACCUMULATORS:
            known = ", ".join(sorted(ACCUMULATORS))
            raise InvalidQuery(f"{where}.{accumulator}: unknown accumulator {accumulator}; known are {known}")
        if accumulator == "$count" and expression != {}:
            raise InvalidQuery(f"{where}.{accumulator}: takes an empty object, not {expression!r}")
        if isinstance(expression, list | tuple):
            raise InvalidQuery(f"{where}.{accumulator}: takes one expression, not an array of them")
        found.append((name, accumulator, parse_expression(expression, f"{where}.{accumulator}")))
    return tuple(found)


def _sort(operand: Any, place: str) -> Stage:
    return Sort(parse_sort(_object(operand, place), place))


def _whole(operand: Any, place: str, least: int) -> int:
    if isinstance(operand, bool) or not isinstance(operand, int | float) or operand != operand // 1 or operand < least:
        raise InvalidQuery(f"{place}: takes a whole number of at least {least}, not {operand!r}")
    return int(operand)


def _skip(operand: Any, place: str) -> Stage:
    return Skip(_whole(operand, place, 0))


def _limit(operand: Any, place: str) -> Stage:
    return Limit(_whole(operand, place, 1))


def _unwind(operand: Any, place: str) -> Stage:
    fields = {"path": operand} if isinstance(operand, str) else operand
    fields = _only(fields, {"path"}, {"includeArrayIndex", "preserveNullAndEmptyArrays"}, place)
    if not isinstance(fields["path"], str) or not fields["path"].startswith("$"):
        raise InvalidQuery(f"{place}: its path begins with $, unlike {fields['path']!r}")
    index = fields.get("includeArrayIndex")
    keeps = fields.get("preserveNullAndEmptyArrays", False)
    if not isinstance(keeps, bool):
        raise InvalidQuery(f"{place}.preserveNullAndEmptyArrays: takes true or false, not {keeps!r}")
    return Unwind(
        parse_path(fields["path"][1:], f"{place}.path"),
        () if index is None else parse_path(index, f"{place}.includeArrayIndex"),
        keeps,
    )


def _name(operand: Any, place: str) -> str:
    if not isinstance(operand, str) or not operand or operand.startswith("$") or "." in operand:
        raise InvalidQuery(f"{place}: takes the name of a field, without a dot and not beginning with $")
    return operand


def _count(operand: Any, place: str) -> Stage:
    return Count(_name(operand, place))


def _sort_by_count(operand: Any, place: str) -> tuple[Stage, ...]:
    grouped = Group(_computed(operand, place), (("count", "$count", Literal(None)),))
    return (grouped, Sort(((("count",), -1),)))


def _computed(operand: Any, place: str) -> Expression:
    if not is_operators(operand) and not (isinstance(operand, str) and operand.startswith("$")):
        raise InvalidQuery(f"{place}: takes a path that begins with $ or an operator, not {operand!r}")
    return parse_expression(operand, place)


def _lookup(operand: Any, place: str) -> Stage:
    fields = _only(operand, {"from", "localField", "foreignField", "as"}, set(), place)
    if not isinstance(fields["from"], str):
        raise InvalidQuery(f"{place}.from: takes the name of a collection, not {fields['from']!r}")
    return Lookup(
        fields["from"], *(parse_path(fields[name], f"{place}.{name}") for name in ("localField", "foreignField", "as"))
    )


def _facet(operand: Any, place: str) -> Stage:
    return Facet(
        tuple(
            (_name(name, f"{place}.{name}"), parse_pipeline(pipeline, f"{place}.{name}"))
            for name, pipeline in _object(operand, place).items()
        )
    )


def _bucket(operand: Any, place: str) -> tuple[Stage, ...]:
    """Return a group by the lower bound of the bucket that each value lies in, in the order of the bounds."""
    fields = _only(operand, {"groupBy", "boundaries"}, {"default", "output"}, place)
    bounds = [parse_value(bound, f"{place}.boundaries") for bound in fields["boundaries"]]
    keys = [sort_key(bound) for bound in bounds]
    if len(bounds) < 2 or any(a >= b or a[0] != b[0] for a, b in itertools.pairwise(keys)):
        raise InvalidQuery(f"{place}.boundaries: takes at least two values of one type, each larger than the last")
    value = _computed(fields["groupBy"], f"{place}.groupBy")
    cases: list[Expression] = []
    for low, high in itertools.pairwise(bounds):
        above, below = Call("$gte", (value, Literal(low))), Call("$lt", (value, Literal(high)))
        cases += (Call("$and", (above, below)), Literal(low))
    if "default" in fields:
        default = parse_value(fields["default"], f"{place}.default")
        if keys[0] <= sort_key(default) < keys[-1]:
            raise InvalidQuery(f"{place}.default: lies within the boundaries: {default!r}")
        cases.append(Literal(default))
    output = fields.get("output", {"count": {"$sum": 1}})
    group = Group(Call("$switch", tuple(cases)), _accumulated(output, f"{place}.output"))
    return (group, Sort(_BY_ID))


_STAGES: dict[str, Callable[[Any, str], Stage | tuple[Stage, ...]]] = {
    "$match": _match,
    "$project": _project,
    "$addFields": _add_fields,
    "$set": _add_fields,
    "$unset": _unset,
    "$replaceRoot": _replace_root,
    "$replaceWith": _replace_with,
    "$group": _group,
    "$sort": _sort,
    "$skip": _skip,
    "$limit": _limit,
    "$unwind": _unwind,
    "$count": _count,
    "$sortByCount": _sort_by_count,
    "$lookup": _lookup,
    "$facet": _facet,
    "$bucket": _bucket,
}
