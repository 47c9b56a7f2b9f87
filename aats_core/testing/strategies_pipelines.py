"""Hypothesis strategies for expressions and pipelines over what `strategies.documents` makes.

What a pipeline gives is fully said by it: it depends on the order of documents only where they have one.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

from hypothesis import strategies as st

from aats_core.testing import strategies

UNORDERED = "set"
"""The name of every field whose array comes in no certain order."""

_Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]


_PATHS = strategies.paths()
_FIELDS = st.one_of(_PATHS.map("${}".format), st.sampled_from(("$_id", "$$ROOT", "$$CURRENT.a")))
_SIMPLE = st.one_of(
    *[_FIELDS] * 3,
    *(each.map(lambda value: {"$literal": value}) for each in (strategies.scalars(), strategies.values())),
    st.sampled_from((0, 1, 2, True, None)),
)
_LITERALS = {
    "number": strategies.numbers(),
    "float": strategies.numbers().filter(lambda each: not isinstance(each, Decimal)),
    "text": strategies.strings(),
    "date": strategies.dates(),
    "array": st.lists(strategies.values(), max_size=3),
}
_FILTERS = strategies.filters().filter(lambda each: not all(name in str(each) for name in ("$elemMatch", "$all")))
"""MongoDB 6.0 fails to optimize some pipelines that have `$all` within `$elemMatch`."""
_NAMES = strategies.names()
_SMALL = st.integers(-3, 4)

_ARGUMENTS: dict[str, str] = {
    **dict.fromkeys(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$cmp", "$ifNull"), "any any"),
    **dict.fromkeys(("$add", "$subtract", "$multiply", "$divide", "$mod"), "number number"),
    "$pow": "float float",
    **dict.fromkeys(("$abs", "$ceil", "$floor", "$sqrt", "$toInt", "$toDouble", "$toString"), "number"),
    **dict.fromkeys(("$round", "$trunc"), "number small"),
    **dict.fromkeys(("$toLower", "$toUpper", "$strLenCP"), "text"),
    **dict.fromkeys(("$year", "$month", "$dayOfMonth", "$hour", "$minute", "$second", "$millisecond"), "date"),
    **dict.fromkeys(("$type", "$isNumber", "$not", "$isArray", "$objectToArray"), "any"),
    **dict.fromkeys(("$size", "$first", "$last", "$reverseArray"), "array"),
    "$split": "text text",
    "$substrCP": "text small small",
    "$cond": "condition any any",
    "$in": "any array",
    "$arrayElemAt": "array small",
    "$slice": "array small",
}
"""What each operator is made for."""
_OTHERS: dict[str, str] = {
    "$sum": "array",
    "$avg": "array",
    "$min": "array",
    "$max": "array",
    "$add": "date number",
    "$subtract": "date date",
    "$slice": "array small small",
    "$toInt": "text",
    "$toDouble": "text",
}
"""Other arguments that operators of `_ARGUMENTS` and `_MANY` take."""
_MANY: dict[str, str] = {
    **dict.fromkeys(("$sum", "$avg", "$min", "$max", "$add", "$multiply"), "number"),
    "$concat": "text",
    "$and": "condition",
    "$or": "condition",
    "$concatArrays": "array",
    "$mergeObjects": "any",
}
"""What each operator takes any number of."""
_CALLS = [*_ARGUMENTS.items(), *_OTHERS.items()]


@st.composite
def expressions(draw: _Draw) -> Any:
    """Expressions, whose operators often meet values that they are made for, and sometimes others."""
    return _expression(draw, draw(st.integers(0, 2)))


def _expression(draw: _Draw, depth: int, kind: str = "any") -> Any:
    if kind == "small" and draw(st.integers(0, 3)):
        return draw(_SMALL)
    if kind == "float" or (kind in _LITERALS and draw(st.booleans())):
        return {"$literal": draw(_LITERALS[kind])}
    if depth == 0:
        return draw(_SIMPLE)
    if kind == "condition":
        return {draw(st.sampled_from(("$eq", "$gt"))): [_expression(draw, depth - 1), _expression(draw, depth - 1)]}
    return draw(st.sampled_from(_MAKERS))(draw, depth - 1)


def _call(draw: _Draw, depth: int) -> Any:
    name, kinds = draw(st.sampled_from(_CALLS))
    return {name: [_expression(draw, depth, kind) for kind in kinds.split()]}


def _call_with_many(draw: _Draw, depth: int) -> Any:
    name, kind = draw(st.sampled_from(list(_MANY.items())))
    return {name: [_expression(draw, depth, kind) for _ in range(draw(st.integers(1, 3)))]}


def _switch(draw: _Draw, depth: int) -> Any:
    cases = [
        {"case": _expression(draw, depth, "condition"), "then": _expression(draw, depth)}
        for _ in range(draw(st.integers(1, 2)))
    ]
    default = {"default": _expression(draw, depth)} if draw(st.booleans()) else {}
    return {"$switch": {"branches": cases, **default}}


def _each(draw: _Draw, depth: int) -> Any:
    name, body = draw(st.sampled_from((("$map", "in"), ("$filter", "cond"))))
    here = draw(st.sampled_from(("$$this", "$$this.a", {"$gt": ["$$this", 1]}, {"$type": "$$this"}, None)))
    return {name: {"input": _expression(draw, depth, "array"), body: here or _expression(draw, depth)}}


def _object(draw: _Draw, depth: int) -> Any:
    return {name: _expression(draw, depth) for name in draw(st.lists(strategies.names(), max_size=2, unique=True))}


def _array(draw: _Draw, depth: int) -> Any:
    return [_expression(draw, depth) for _ in range(draw(st.integers(0, 2)))]


_MAKERS = [*[_call] * 6, _call_with_many, _call_with_many, _switch, _each, _object, _array]


class _State:
    """What is known of the documents at a place in a pipeline."""

    def __init__(self) -> None:
        self.ordered = True
        self.has_own_ids = True
        self.computed = False
        """Whether something was computed that may fail, for documents too that a `$match` would leave out."""


def pipelines(other: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Pipelines of one to three stages after a `$sort` by `_id`; `$lookup` looks into the collection `other`."""

    @st.composite
    def build(draw: Any) -> list[dict[str, Any]]:
        state, stages = _State(), [{"$sort": {"_id": 1}}]
        for _ in range(draw(st.integers(1, 3))):
            make = draw(st.sampled_from(_makers(state)))
            stages.append(make(draw, state, other))
            state.computed = state.computed or make not in (_match, _sort, _skip, _limit)
        return stages

    return build()


def _makers(state: _State) -> list[Any]:
    found: list[Any] = [] if state.computed else [_match]
    found += [_project, _project, _add_fields, _add_fields, _unset, _unwind, _group, _group]
    found += [_count, _lookup, _bucket, _sort_by_count, _replace_root]
    if state.ordered:
        found += [_skip, _limit, _facet]
        if state.has_own_ids:
            found += [_sort]
    return found


def _match(draw: _Draw, _: _State, _other: str) -> dict[str, Any]:
    return {"$match": draw(_FILTERS)}


def _project(draw: _Draw, _: _State, _other: str) -> dict[str, Any]:
    kept = st.dictionaries(_PATHS, st.just(1), min_size=1, max_size=2)
    dropped = st.dictionaries(_PATHS, st.just(0), min_size=1, max_size=2)
    computed = st.dictionaries(st.sampled_from(("x", "y", "a.x", "b")), expressions(), min_size=1, max_size=2)
    mixed = st.tuples(kept, computed).map(lambda both: {**both[0], **both[1]})
    return {"$project": draw(st.one_of(kept, dropped, computed, mixed))}


def _add_fields(draw: _Draw, _: _State, _other: str) -> dict[str, Any]:
    targets = st.one_of(_PATHS, st.sampled_from(("x", "a.x")))
    return {
        draw(st.sampled_from(("$addFields", "$set"))): draw(
            st.dictionaries(targets, expressions(), min_size=1, max_size=2)
        )
    }


def _unset(draw: _Draw, _: _State, _other: str) -> dict[str, Any]:
    return {"$unset": draw(st.one_of(_PATHS, st.lists(_PATHS, min_size=1, max_size=2)))}


def _replace_root(draw: _Draw, state: _State, _other: str) -> dict[str, Any]:
    state.has_own_ids = False
    root = st.one_of(_FIELDS, st.dictionaries(_NAMES, expressions(), min_size=1, max_size=2))
    if draw(st.booleans()):
        return {"$replaceWith": draw(root)}
    return {"$replaceRoot": {"newRoot": draw(root)}}


def _unwind(draw: _Draw, state: _State, _other: str) -> dict[str, Any]:
    state.has_own_ids = False
    path = f"${draw(_PATHS)}"
    options = st.fixed_dictionaries(
        {"path": st.just(path)},
        optional={"includeArrayIndex": st.sampled_from(("x", "a.x")), "preserveNullAndEmptyArrays": st.booleans()},
    )
    return {"$unwind": draw(st.one_of(st.just(path), options))}


def _group(draw: _Draw, state: _State, _other: str) -> dict[str, Any]:
    plain = ["$sum", "$avg", "$min", "$max", "$stdDevPop", "$stdDevSamp"]
    ordered = ["$first", "$last", "$push", "$mergeObjects"] if state.ordered else []
    state.ordered, state.has_own_ids = False, True
    made: dict[str, Any] = {"_id": draw(st.one_of(st.none(), _FIELDS, expressions()))}
    for name in draw(st.lists(st.sampled_from(("x", "y", "n", UNORDERED)), max_size=3, unique=True)):
        if name == UNORDERED:
            made[name] = {"$addToSet": draw(expressions())}
        elif name == "n":
            made[name] = {"$count": {}}
        else:
            made[name] = {draw(st.sampled_from(plain + ordered)): draw(st.one_of(_FIELDS, expressions()))}
    return {"$group": made}


def _sort(draw: _Draw, _: _State, _other: str) -> dict[str, Any]:
    return {"$sort": {**draw(st.dictionaries(_PATHS, st.sampled_from((1, -1)), min_size=1, max_size=2)), "_id": 1}}


def _skip(draw: _Draw, _: _State, _other: str) -> dict[str, Any]:
    return {"$skip": draw(st.integers(0, 3))}


def _limit(draw: _Draw, _: _State, _other: str) -> dict[str, Any]:
    return {"$limit": draw(st.integers(1, 3))}


def _count(_draw: _Draw, state: _State, _other: str) -> dict[str, Any]:
    state.ordered, state.has_own_ids = True, False
    return {"$count": "n"}


def _sort_by_count(draw: _Draw, state: _State, _other: str) -> dict[str, Any]:
    state.ordered, state.has_own_ids = False, True
    return {"$sortByCount": draw(st.one_of(_FIELDS, expressions()))}


def _lookup(draw: _Draw, _: _State, other: str) -> dict[str, Any]:
    local, foreign = draw(st.one_of(_PATHS, st.just("_id"))), draw(st.one_of(_PATHS, st.just("_id")))
    return {"$lookup": {"from": other, "localField": local, "foreignField": foreign, "as": UNORDERED}}


def _bucket(draw: _Draw, state: _State, _other: str) -> dict[str, Any]:
    state.ordered, state.has_own_ids = False, True
    bounds = draw(st.sampled_from(([0, 1, 5], [-10, 2.5], ["", "b", "c"], [0, 2**40])))
    made: dict[str, Any] = {"groupBy": draw(st.one_of(_FIELDS, expressions())), "boundaries": bounds}
    if draw(st.booleans()):
        made["default"] = draw(st.sampled_from(("other", -100, None)))
    if draw(st.booleans()):
        made["output"] = {"x": {"$sum": draw(_FIELDS)}}
    return {"$bucket": made}


def _facet(draw: _Draw, state: _State, other: str) -> dict[str, Any]:
    made = {}
    for name in draw(st.lists(_NAMES, min_size=1, max_size=2, unique=True)):
        inner = _State()
        inner.has_own_ids = False
        makers = [_match, _unset, _skip, _limit, _count, _unwind]
        made[name] = [draw(st.sampled_from(makers))(draw, inner, other) for _ in range(draw(st.integers(1, 2)))]
    state.has_own_ids = False
    return {"$facet": made}
