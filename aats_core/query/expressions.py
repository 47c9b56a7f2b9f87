"""The parsed form of expressions, which pipelines compute values with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.query.filters import Path
from aats_core.query.parse_filter import parse_value
from aats_core.query.paths import parse_path

ROOT = "ROOT"
"""The variable that holds the document itself."""

_VARIABLES = frozenset({ROOT, "CURRENT", "NOW"})


class Literal(msgspec.Struct, frozen=True):
    """A value."""

    value: Any


class Field(msgspec.Struct, frozen=True):
    """What is at a path of a variable, for each object where arrays lie on the way; the empty path is the variable."""

    variable: str
    path: Path


class MakeObject(msgspec.Struct, frozen=True):
    """An object of computed fields; one that computes to nothing is left out."""

    fields: tuple[tuple[str, Expression], ...]


class MakeArray(msgspec.Struct, frozen=True):
    """An array of computed elements; one that computes to nothing is null."""

    elements: tuple[Expression, ...]


class Call(msgspec.Struct, frozen=True):
    """An operator applied to arguments."""

    operator: str
    arguments: tuple[Expression, ...]


class Each(msgspec.Struct, frozen=True):
    """`$map` or `$filter`: the body computed for each element of an array, which it sees as a variable."""

    operator: str
    input: Expression
    variable: str
    body: Expression


Expression: TypeAlias = Literal | Field | MakeObject | MakeArray | Call | Each

_ANY = (0, 10_000)
ARITY: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("$add", "$multiply", "$and", "$or", "$concat", "$concatArrays", "$mergeObjects"), _ANY),
    **dict.fromkeys(("$sum", "$avg", "$min", "$max"), (1, 10_000)),
    **dict.fromkeys(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$cmp"), (2, 2)),
    **dict.fromkeys(("$subtract", "$divide", "$mod", "$pow", "$in", "$arrayElemAt", "$split"), (2, 2)),
    **dict.fromkeys(("$abs", "$ceil", "$floor", "$sqrt", "$not", "$size", "$isArray", "$first", "$last"), (1, 1)),
    **dict.fromkeys(
        ("$toLower", "$toUpper", "$strLenCP", "$type", "$toString", "$toInt", "$toLong", "$toDouble"), (1, 1)
    ),
    **dict.fromkeys(("$year", "$month", "$dayOfMonth", "$hour", "$minute", "$second", "$millisecond"), (1, 1)),
    **dict.fromkeys(("$reverseArray", "$isNumber", "$objectToArray", "$toLong", "$toDecimal"), (1, 1)),
    **dict.fromkeys(("$round", "$trunc"), (1, 2)),
    "$slice": (2, 3),
    "$substrCP": (3, 3),
    "$ifNull": (2, 10_000),
    "$cond": (3, 3),
    "$switch": _ANY,
}
"""How few and how many arguments each operator takes."""

_MOST_DEEP = 100


def parse_expression(expression: Any, place: str, variables: frozenset[str] = _VARIABLES, depth: int = 0) -> Expression:
    """Return the parsed form of an expression; raises `InvalidQuery` where it is none."""
    if depth > _MOST_DEEP:
        raise InvalidQuery(f"{place}: nested deeper than {_MOST_DEEP} levels")
    if isinstance(expression, str) and expression.startswith("$"):
        return _field(expression, place, variables)
    if isinstance(expression, list | tuple):
        return MakeArray(
            tuple(parse_expression(e, f"{place}.{i}", variables, depth + 1) for i, e in enumerate(expression))
        )
    if not isinstance(expression, Mapping):
        return Literal(parse_value(expression, place))
    if not any(str(name).startswith("$") for name in expression):
        return MakeObject(
            tuple((k, parse_expression(v, f"{place}.{k}", variables, depth + 1)) for k, v in expression.items())
        )
    if len(expression) != 1:
        raise InvalidQuery(f"{place}: an operator stands alone in its object, not beside {', '.join(expression)}")
    name, operand = next(iter(expression.items()))
    return _operator(name, operand, f"{place}.{name}", variables, depth + 1)


def _field(text: str, place: str, variables: frozenset[str]) -> Expression:
    if not text.startswith("$$"):
        return Field(ROOT, parse_path(text[1:], place))
    variable, _, path = text[2:].partition(".")
    if variable not in variables:
        raise InvalidQuery(f"{place}: unknown variable {variable!r}; known are {', '.join(sorted(variables))}")
    return Field(ROOT if variable == "CURRENT" else variable, parse_path(path, place) if path else ())


def _operator(name: str, operand: Any, place: str, variables: frozenset[str], depth: int) -> Expression:
    if name == "$literal":
        return Literal(parse_value(operand, place))
    if name in ("$map", "$filter"):
        return _each(name, operand, place, variables, depth)
    if name not in ARITY:
        known = sorted((*ARITY, "$literal", "$map", "$filter"))
        raise InvalidQuery(f"{place}: unknown operator {name}; known are {', '.join(known)}")
    given = _arguments(name, operand, place)
    least, most = ARITY[name]
    if not least <= len(given) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise InvalidQuery(f"{place}: takes {wanted} arguments, not {len(given)}")
    return Call(name, tuple(parse_expression(e, f"{place}.{i}", variables, depth) for i, e in enumerate(given)))


def _arguments(name: str, operand: Any, place: str) -> Sequence[Any]:
    if name == "$cond" and isinstance(operand, Mapping):
        if set(operand) != {"if", "then", "else"}:
            raise InvalidQuery(f"{place}: takes if, then and else")
        return (operand["if"], operand["then"], operand["else"])
    if name == "$switch":
        return _switch(operand, place)
    return operand if isinstance(operand, list | tuple) else (operand,)


def _switch(operand: Any, place: str) -> Sequence[Any]:
    """Return cases and results in turn, then the default if there is one."""
    if not isinstance(operand, Mapping) or not set(operand) <= {"branches", "default"} or not operand.get("branches"):
        raise InvalidQuery(f"{place}: takes branches, and perhaps default")
    given: list[Any] = []
    for index, branch in enumerate(operand["branches"]):
        if not isinstance(branch, Mapping) or set(branch) != {"case", "then"}:
            raise InvalidQuery(f"{place}.branches.{index}: takes case and then")
        given += (branch["case"], branch["then"])
    return (*given, operand["default"]) if "default" in operand else given


def _each(name: str, operand: Any, place: str, variables: frozenset[str], depth: int) -> Expression:
    body = "in" if name == "$map" else "cond"
    if not isinstance(operand, Mapping) or not {"input", body} <= set(operand) <= {"input", "as", body}:
        raise InvalidQuery(f"{place}: takes input, {body}, and perhaps as")
    variable = operand.get("as", "this")
    if not isinstance(variable, str) or not variable.isidentifier():
        raise InvalidQuery(f"{place}.as: takes a name, not {variable!r}")
    return Each(
        name,
        parse_expression(operand["input"], f"{place}.input", variables, depth),
        variable,
        parse_expression(operand[body], f"{place}.{body}", variables | {variable}, depth),
    )
