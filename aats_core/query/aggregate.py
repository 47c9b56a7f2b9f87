"""Runs parsed pipelines in memory, for what a store does not have its database do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from aats_core.errors import InvalidQuery
from aats_core.query.accumulators import ACCUMULATORS
from aats_core.query.compute import Compute, column, computer, variables_of
from aats_core.query.expressions import Expression
from aats_core.query.filters import Clause, In, Path
from aats_core.query.match import equal_keys, matcher
from aats_core.query.order import sorted_by
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
    Unwind,
)
from aats_core.query.projection import project
from aats_core.query.values import MISSING, sort_key

_ONE_BY_ONE = (Match, Project, AddFields, ReplaceRoot, Unwind)
"""Stages that make of each document what they make of it whatever the others are."""

Documents: TypeAlias = Iterable[dict[str, Any]]
Find: TypeAlias = Callable[[str, Clause], Documents]
"""Returns the documents of a collection that match, for `$lookup`."""


class Context:
    """What stages need besides the documents: the time (`$$NOW`), and the other collections."""

    def __init__(self, now: datetime, find: Find) -> None:
        self.now = now
        self.find = find


def run_pipeline(documents: Documents, pipeline: Pipeline, context: Context) -> list[dict[str, Any]]:
    """Return what comes out of a pipeline; the documents that go in stay as they are.

    Raises `InvalidQuery` where an operator does not fit the values that it finds.
    """
    return list(_through(documents, pipeline, context))


def _through(documents: Documents, pipeline: Pipeline, context: Context) -> Documents:
    for stage in pipeline:
        documents = _STAGES[stage.__class__](documents, stage, context)
    return documents


class PipelineRun:
    """Runs a pipeline over documents that come some at a time, and keeps of them what its stages need to the end."""

    def __init__(self, pipeline: Pipeline, context: Context) -> None:
        self._context = context
        self._kept: list[dict[str, Any]] = []
        self._groups: _Groups | None = None
        alone = 0
        while alone < len(pipeline) and isinstance(pipeline[alone], _ONE_BY_ONE):
            alone += 1
        self._first, self._rest = pipeline[:alone], pipeline[alone:]
        if self._rest and isinstance(stage := self._rest[0], Group):
            self._groups, self._rest = _Groups(stage, context), self._rest[1:]

    def add(self, documents: Sequence[dict[str, Any]]) -> None:
        """Take more documents, which stay as they are."""
        if self._first:
            documents = list(_through(documents, self._first, self._context))
        if self._groups is not None:
            self._groups.add(documents)
        else:
            self._kept += documents

    def finish(self) -> list[dict[str, Any]]:
        """Return what comes out of the pipeline."""
        documents = self._kept if self._groups is None else self._groups.made()
        return list(_through(documents, self._rest, self._context))


def _match(documents: Documents, stage: Match, _: Context) -> Documents:
    return filter(matcher(stage.clause), documents)


def _project(documents: Documents, stage: Project, context: Context) -> Documents:
    computed = _computers(stage.computed)
    for document in documents:
        kept = project(document, stage.kept)
        yield _with_computed(kept, document, computed, context)


def _add_fields(documents: Documents, stage: AddFields, context: Context) -> Documents:
    computed = _computers(stage.computed)
    for document in documents:
        yield _with_computed(document, document, computed, context)


def _computers(fields: Sequence[tuple[Path, Expression]]) -> list[tuple[Path, Compute]]:
    return [(path, computer(expression)) for path, expression in fields]


def _with_computed(
    target: dict[str, Any], document: dict[str, Any], fields: list[tuple[Path, Compute]], context: Context
) -> dict[str, Any]:
    variables = variables_of(document, context.now)
    for path, compute in fields:
        target = _with_value(target, path, partial(compute, variables))
    return target


def _with_value(node: Any, path: Path, value: Callable[[], Any]) -> Any:
    """Return a copy of an object with a value at a path, in each element where arrays lie on the way.

    Without a value there is nothing at the path afterwards, but the objects that lead there are made all the same.
    """
    if not path:
        return value()
    if node.__class__ is list:
        return [_with_value(item, path, value) for item in node]
    fields = node if node.__class__ is dict else {}
    new = _with_value(fields.get(path[0]), path[1:], value)
    if new is MISSING:
        return {name: item for name, item in fields.items() if name != path[0]}
    return {**fields, path[0]: new}


def _replace_root(documents: Documents, stage: ReplaceRoot, context: Context) -> Documents:
    compute = computer(stage.root)
    for document in documents:
        root = compute(variables_of(document, context.now))
        if root.__class__ is not dict:
            raise InvalidQuery(f"$replaceRoot: computes to {root!r} for document {document.get('_id')!r}, no object")
        yield root


class _Groups:
    """The groups of a `$group`, which gets its documents some at a time and keeps only what it makes values of."""

    def __init__(self, stage: Group, context: Context) -> None:
        self._stage = stage
        self._id = column(stage.id, context.now)
        self._columns = [column(value, context.now) for _, _, value in stage.fields]
        self._known: dict[Any, tuple[Any, list[list[Any]]]] = {}

    def add(self, documents: Sequence[dict[str, Any]]) -> None:
        """Take more documents."""
        keys, columns = self._id(documents), [compute(documents) for compute in self._columns]
        places: defaultdict[Any, list[int]] = defaultdict(list)
        for place, key in enumerate(keys):
            places[key if key.__class__ is str else sort_key(key)].append(place)  # which is a tuple
        for known, each in places.items():
            if known not in self._known:
                key = keys[each[0]]
                self._known[known] = (None if key is MISSING else key, [[] for _ in columns])
            for values, found in zip(self._known[known][1], columns, strict=True):
                values += [found[place] for place in each]

    def made(self) -> Iterator[dict[str, Any]]:
        """Yield the document of each group."""
        for key, columns in self._known.values():
            yield {"_id": key, **_accumulated(self._stage, columns)}


def _group(documents: Documents, stage: Group, context: Context) -> Documents:
    groups = _Groups(stage, context)
    groups.add(list(documents))
    yield from groups.made()


def _accumulated(stage: Group, columns: list[list[Any]]) -> dict[str, Any]:
    made = {}
    for (name, accumulator, _), values in zip(stage.fields, columns, strict=True):
        try:
            made[name] = ACCUMULATORS[accumulator](values)
        except (TypeError, ArithmeticError) as error:
            raise InvalidQuery(f"$group.{name}.{accumulator}: {error}") from error
    return made


def _sort(documents: Documents, stage: Sort, _: Context) -> Documents:
    return sorted_by(documents, stage.order)


def _skip(documents: Documents, stage: Skip, _: Context) -> Documents:
    return islice(documents, stage.count, None)


def _limit(documents: Documents, stage: Limit, _: Context) -> Documents:
    return islice(documents, stage.count)


def _unwind(documents: Documents, stage: Unwind, _: Context) -> Documents:
    for document in documents:
        value = _at(document, stage.path)
        if value.__class__ is list and value:
            for position, element in enumerate(value):
                yield _indexed(_with_field(document, stage.path, element), stage.index, position)
        elif value is None or value is MISSING or value.__class__ is list:
            if stage.keeps_empty:
                rest = _without(document, stage.path) if value.__class__ is list else document
                yield _indexed(rest, stage.index, None)
        else:
            yield _indexed(document, stage.index, None)


def _indexed(document: dict[str, Any], path: Path, position: int | None) -> dict[str, Any]:
    return _with_field(document, path, position) if path else document


def _with_field(node: Any, path: Path, value: Any) -> dict[str, Any]:
    """Return a copy of an object with a value at a path; whatever is no object on the way gives place to one."""
    fields = node if node.__class__ is dict else {}
    rest = path[1:]
    return {**fields, path[0]: _with_field(fields.get(path[0]), rest, value) if rest else value}


def _at(node: Any, path: Path) -> Any:
    for part in path:
        if node.__class__ is not dict:
            return MISSING
        node = node.get(part, MISSING)
    return node


def _without(node: dict[str, Any], path: Path) -> dict[str, Any]:
    if len(path) == 1:
        return {name: value for name, value in node.items() if name != path[0]}
    return {**node, path[0]: _without(node[path[0]], path[1:])}


def _count(documents: Documents, stage: Count, _: Context) -> Documents:
    number = sum(1 for _ in documents)
    return [{stage.name: number}] if number else []


def _lookup(documents: Documents, stage: Lookup, context: Context) -> Documents:
    here = list(documents)
    wanted = [_local_values(document, stage.local) or {sort_key(None): None} for document in here]
    values = {key: value for each in wanted for key, value in each.items()}
    there: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for number, found in enumerate(context.find(stage.collection, In(stage.foreign, tuple(values.values())))):
        for key in equal_keys(found, stage.foreign):
            there.setdefault(key, {})[number] = found
    for document, each in zip(here, wanted, strict=True):
        matching = {number: found for key in each for number, found in there.get(key, {}).items()}
        yield _with_field(document, stage.target, [matching[number] for number in sorted(matching)])


def _local_values(node: Any, path: Path) -> dict[tuple[Any, ...], Any]:
    """Return by their keys the values at a path, and the elements of an array there in its place.

    A number on the path names an element of an array, and no field of those in it.
    """
    if not path:
        return {sort_key(value): value for value in (node if node.__class__ is list else [node])}
    if node.__class__ is list and path[0].isdecimal():
        return _local_values(node[int(path[0])], path[1:]) if int(path[0]) < len(node) else {}
    if node.__class__ is list:
        below = (_local_values(item, path) for item in node if item.__class__ is dict)
        return {key: value for each in below for key, value in each.items()}
    return _local_values(node[path[0]], path[1:]) if node.__class__ is dict and path[0] in node else {}


def _facet(documents: Documents, stage: Facet, context: Context) -> Iterator[dict[str, Any]]:
    here = list(documents)
    yield {name: run_pipeline(here, pipeline, context) for name, pipeline in stage.pipelines}


_STAGES: dict[type, Callable[[Documents, Any, Context], Documents]] = {
    Match: _match,
    Project: _project,
    AddFields: _add_fields,
    ReplaceRoot: _replace_root,
    Group: _group,
    Sort: _sort,
    Skip: _skip,
    Limit: _limit,
    Unwind: _unwind,
    Count: _count,
    Lookup: _lookup,
    Facet: _facet,
}
