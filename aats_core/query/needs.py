"""Which fields of a document a query looks at, so that whoever runs it need not read the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from aats_core.query.expressions import ROOT, Call, Each, Expression, Field, Literal, MakeArray, MakeObject
from aats_core.query.filters import And, Clause, Not, Or, Text
from aats_core.query.pipelines import AddFields, Count, Group, Match, Pipeline, Project, Stage, Unwind

Fields: TypeAlias = frozenset[str]
"""Names of fields of the document itself; those of objects in it are not told apart."""

_ALL = None
"""Stands among the names for all other fields."""

_Names: TypeAlias = Iterator[str | None]


def fields_of_filter(clause: Clause) -> Fields | None:
    """Return the fields on which depends whether a document matches; None where that may be all."""
    return _known(_of_clause(clause))


def fields_of_pipeline(clause: Clause, pipeline: Pipeline) -> Fields | None:
    """Return the fields on which depends what a pipeline makes of what a filter finds; None where that may be all."""
    names = list(_of_clause(clause))
    for stage in pipeline:
        names += _of_stage(stage)
        if isinstance(stage, Group | Project | Count):
            return _known(names)
    return None


def _known(names: Iterable[str | None]) -> Fields | None:
    found = frozenset(names)
    return None if _ALL in found else found  # type: ignore[return-value] # what is left are names


def _of_clause(clause: Clause) -> _Names:
    if isinstance(clause, And | Or):
        for each in clause.clauses:
            yield from _of_clause(each)
    elif isinstance(clause, Not):
        yield from _of_clause(clause.clause)
    else:
        yield _ALL if isinstance(clause, Text) else clause.path[0]


def _of_stage(stage: Stage) -> _Names:
    if isinstance(stage, Match):
        yield from _of_clause(stage.clause)
    elif isinstance(stage, Unwind):
        yield stage.path[0]
        yield from stage.index[:1]
    elif isinstance(stage, Group):
        for expression in (stage.id, *(each for _, _, each in stage.fields)):
            yield from _of_expression(expression)
    elif isinstance(stage, Project | AddFields):
        if isinstance(stage, Project):
            yield from stage.kept.fields if stage.kept.keeps else (_ALL,)
        for path, expression in stage.computed:
            yield path[0]
            yield from _of_expression(expression)
    elif not isinstance(stage, Count):
        yield _ALL


def _of_expression(expression: Expression) -> _Names:
    if isinstance(expression, Field):
        if expression.variable == ROOT:
            yield expression.path[0] if expression.path else _ALL
        return
    for each in _parts(expression):
        yield from _of_expression(each)


def _parts(expression: Literal | MakeObject | MakeArray | Call | Each) -> tuple[Expression, ...]:
    if isinstance(expression, Call):
        return expression.arguments
    if isinstance(expression, MakeArray):
        return expression.elements
    if isinstance(expression, MakeObject):
        return tuple(value for _, value in expression.fields)
    return (expression.input, expression.body) if isinstance(expression, Each) else ()
