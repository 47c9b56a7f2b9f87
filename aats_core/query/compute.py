"""Evaluates parsed expressions in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

from aats_core.errors import InvalidQuery
from aats_core.query.expressions import ROOT, Call, Each, Expression, Field, Literal, MakeArray, MakeObject
from aats_core.query.filters import Path
from aats_core.query.operators import FUNCTIONS, is_true
from aats_core.query.values import MISSING

Variables: TypeAlias = Mapping[str, Any]
Compute: TypeAlias = Callable[[Variables], Any]
"""Returns the value of an expression, given its variables; `MISSING` where it computes to nothing."""


def computer(expression: Expression) -> Compute:
    """Return a function that evaluates an expression; build it once for many documents.

    It raises `InvalidQuery` where an operator does not fit the values that it finds.
    """
    return _BUILDERS[expression.__class__](expression)


def variables_of(document: Any, now: Any = None) -> dict[str, Any]:
    """Return the variables that every expression knows."""
    return {ROOT: document, "NOW": now}


def column(expression: Expression, now: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function that evaluates an expression on each of many documents; like `computer` it is built once."""
    compute = computer(expression)
    if isinstance(compute, _Constant):
        return lambda documents: [compute.value] * len(documents)
    if isinstance(expression, Field) and expression.variable == ROOT and len(expression.path) == 1:
        return partial(_values_of, *expression.path)

    def run(documents: Sequence[Any]) -> list[Any]:
        return [compute(variables_of(document, now)) for document in documents]

    return run


def _values_of(name: str, documents: Sequence[Any]) -> list[Any]:
    """Return what each of many documents has in a field."""
    try:
        return list(map(itemgetter(name), documents))
    except KeyError:
        return [document.get(name, MISSING) for document in documents]


_IN_ANY_ORDER = frozenset({"$add", "$multiply"})
"""Operators whose constants come last, so that null elsewhere is met before a constant of a wrong type."""
_ASSOCIATIVE = _IN_ANY_ORDER | {"$concat", "$concatArrays"}


class _Constant:
    """Computes to the same value whatever the document."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, _: Variables) -> Any:
        return self.value


def _literal(expression: Literal) -> Compute:
    return _Constant(expression.value)


def _field(expression: Field) -> Compute:
    variable, path = expression.variable, expression.path
    if len(path) == 1:
        name = path[0]

        def single(variables: Variables) -> Any:
            node = variables[variable]
            return node.get(name, MISSING) if node.__class__ is dict else _value_at(node, path)

        return single
    return lambda variables: _value_at(variables[variable], path)


def _value_at(node: Any, path: Path) -> Any:
    for depth, part in enumerate(path):
        if node.__class__ is list:
            inner = (_value_at(item, path[depth:]) for item in node if item.__class__ is dict)
            return [value for value in inner if value is not MISSING]
        if node.__class__ is not dict:
            return MISSING
        node = node.get(part, MISSING)
    return node


def _object(expression: MakeObject) -> Compute:
    fields = [(name, computer(value)) for name, value in expression.fields]

    def make(variables: Variables) -> Any:
        computed = ((name, compute(variables)) for name, compute in fields)
        return {name: value for name, value in computed if value is not MISSING}

    return _folded(make, [compute for _, compute in fields])


def _array(expression: MakeArray) -> Compute:
    elements = [computer(element) for element in expression.elements]

    def make(variables: Variables) -> Any:
        computed = (compute(variables) for compute in elements)
        return [None if value is MISSING else value for value in computed]

    return _folded(make, elements)


def _call(expression: Call) -> Compute:
    if expression.operator == "$switch":
        return _switch(expression)
    arguments = [computer(argument) for argument in expression.arguments]
    lazy = _LAZY.get(expression.operator)
    if lazy is not None:
        return _folded(lambda variables: lazy(arguments, variables), arguments)
    if expression.operator in _IN_ANY_ORDER:
        arguments.sort(key=lambda argument: isinstance(argument, _Constant))
    if expression.operator in _ASSOCIATIVE:
        arguments = _with_folded_runs(expression.operator, arguments)
    return _folded(_function(expression.operator, arguments), arguments)


def _function(name: str, arguments: Sequence[Compute]) -> Compute:
    function = FUNCTIONS[name]

    def call(variables: Variables) -> Any:
        try:
            return function([compute(variables) for compute in arguments])
        except (ValueError, TypeError, ArithmeticError) as error:
            raise InvalidQuery(f"{name}: {error}") from error

    return call


def _with_folded_runs(name: str, arguments: Sequence[Compute]) -> list[Compute]:
    """Return arguments in which constants that follow each other are computed to one."""
    result: list[Compute] = []
    for is_constant, run in groupby(arguments, key=lambda argument: isinstance(argument, _Constant)):
        each = list(run)
        result += [_folded(_function(name, each), each)] if is_constant and len(each) > 1 else each
    return result


def _folded(call: Compute, arguments: Sequence[Compute]) -> Compute:
    """Compute what depends on no document at once, so that it fails even where there is no document."""
    if not all(isinstance(argument, _Constant) for argument in arguments):
        return call
    return _Constant(call({}))


def _switch(expression: Call) -> Compute:
    """Return what takes the first case that holds; of constant cases it is decided at once which can never be taken."""
    parts = expression.arguments
    default = computer(parts[-1]) if len(parts) % 2 else None
    cases: list[tuple[Compute, Compute]] = []
    for case, then in zip(map(computer, parts[:-1:2]), parts[1::2], strict=False):
        if isinstance(case, _Constant):
            if is_true(case.value):
                default = computer(then)
                break
        else:
            cases.append((case, computer(then)))
    if not cases:
        return default or _no_case({})

    def switch(variables: Variables) -> Any:
        for case, then in cases:
            if is_true(case(variables)):
                return then(variables)
        return (default or _no_case)(variables)

    return switch


def _no_case(_: Variables) -> Compute:
    raise InvalidQuery("$switch: no case holds, and there is no default")


def _each(expression: Each) -> Compute:
    source, body, variable = computer(expression.input), computer(expression.body), expression.variable
    is_map = expression.operator == "$map"

    def run(variables: Variables) -> Any:
        array = source(variables)
        if array is None or array is MISSING:
            return None
        if array.__class__ is not list:
            raise InvalidQuery(f"{expression.operator}: its input is no array but {array!r}")
        computed = [(item, body({**variables, variable: item})) for item in array]
        if is_map:
            return [None if value is MISSING else value for _, value in computed]
        return [item for item, value in computed if is_true(value)]

    return run


# Operators that compute only those of their arguments that they need.


def _cond(arguments: Sequence[Compute], variables: Variables) -> Any:
    return arguments[1 if is_true(arguments[0](variables)) else 2](variables)


def _if_null(arguments: Sequence[Compute], variables: Variables) -> Any:
    for argument in arguments[:-1]:
        value = argument(variables)
        if value is not None and value is not MISSING:
            return value
    return arguments[-1](variables)


def _and(arguments: Sequence[Compute], variables: Variables) -> bool:
    return all(is_true(argument(variables)) for argument in arguments)


def _or(arguments: Sequence[Compute], variables: Variables) -> bool:
    return any(is_true(argument(variables)) for argument in arguments)


_LAZY: dict[str, Callable[[Sequence[Compute], Variables], Any]] = {
    "$cond": _cond,
    "$ifNull": _if_null,
    "$and": _and,
    "$or": _or,
}

_BUILDERS: dict[type, Callable[[Any], Compute]] = {
    Literal: _literal,
    Field: _field,
    MakeObject: _object,
    MakeArray: _array,
    Call: _call,
    Each: _each,
}
