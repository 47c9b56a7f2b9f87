"""Compiles a parsed filter to SQL over a table of documents, every value of the filter being bound.

What SQL cannot say exactly, it says as well as it can: it finds all documents that match and maybe others, which
Python then leaves out. That concerns arrays in the middle of a path, comparisons of whole objects and arrays, and
regular expressions that are more than a prefix. See `bindings.Bounds`.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from aats_core.errors import InvalidDocument, InvalidQuery
from aats_core.query import values
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
    Leaf,
    Not,
    OneValue,
    Or,
    Slot,
    Text,
)
from aats_core.query.match import values_of
from aats_core.query.values import is_nan
from aats_core.storage.clauses import can_be_array, is_about_one_value
from aats_store_postgres.bindings import (
    ALWAYS,
    NEVER,
    TEXT_INDEX,
    UNKNOWN,
    Bindings,
    Bounds,
    Condition,
    exactly,
    perhaps,
)
from aats_store_postgres.codec import json_of
from aats_store_postgres.comparisons import (
    all_of,
    any_of,
    condition,
    is_array,
    kind_of,
    negated,
)
from aats_store_postgres.expressions import Target, is_expressible, target_at, target_of
from aats_store_postgres.identity import LETTERS, id_key
from aats_store_postgres.texts import search_terms

_ID = ("_id",)
_CONTAINED = frozenset({values.NULL, values.STRING, values.BINARY, values.BOOLEAN, values.DATE})


def compile_filter(clause: Clause) -> Condition:
    """Return the SQL of a filter over the columns `id` and `doc` of a collection's table."""
    bindings = Bindings()
    return bindings.condition(_Rows(bindings, itertools.count(1)).compile(clause))


class _Scope:
    """What a clause is about; a subclass says how its leaves are written."""

    def __init__(self, bindings: Bindings, aliases: itertools.count[int]) -> None:
        self._bindings = bindings
        self._aliases = aliases

    def compile(self, clause: Clause) -> Bounds:
        """Return the SQL of a clause."""
        if isinstance(clause, And):
            return all_of([self.compile(each) for each in clause.clauses])
        if isinstance(clause, Or):
            return any_of([self.compile(each) for each in clause.clauses])
        if isinstance(clause, Not):
            return negated(self.compile(clause.clause))
        return self.leaf(clause)

    def leaf(self, clause: Leaf | Text) -> Bounds:
        """Return the SQL of a clause about one path."""
        raise NotImplementedError

    def some(self, array: str, clause: Clause, scope: type[_Documents | _Elements]) -> Bounds:
        """Return whether an element of an array fulfils a clause."""
        value = f"e{next(self._aliases)}.value"
        inner = scope(self._bindings, self._aliases, value).compile(clause)
        if scope is _Documents:
            kind = f"jsonb_typeof({value})"
            inner = Bounds(
                f"CASE {kind} WHEN 'object' THEN {inner.maybe} WHEN 'array' THEN TRUE ELSE FALSE END",
                f"CASE {kind} WHEN 'object' THEN {inner.surely} ELSE FALSE END",
            )
        alias = value.partition(".")[0]
        head = f"EXISTS (SELECT 1 FROM jsonb_array_elements({array}) AS {alias}(value) WHERE "
        return Bounds(f"{head}{inner.maybe})", f"{head}{inner.surely})")


class _Documents(_Scope):
    """A clause about a document, given as an expression of JSON."""

    def __init__(self, bindings: Bindings, aliases: itertools.count[int], document: str = "doc") -> None:
        super().__init__(bindings, aliases)
        self._document = document

    def leaf(self, clause: Leaf | Text) -> Bounds:
        """Return the SQL of a clause about one path of the document."""
        if isinstance(clause, Text):
            raise InvalidQuery("$text: cannot stand within $elemMatch")
        if not is_expressible(clause.path):
            return UNKNOWN
        target = target_at(clause.path, self._document)
        through = len(clause.path) > 1
        if isinstance(clause, Exists):
            there = f"{target.json} IS NOT NULL"
            return Bounds(f"{there} OR {is_array(target)}", there) if through else exactly(there)
        contained = self._contained(clause, target)
        if contained is not None and not through:
            assert is_about_one_value(clause), "only these can be contained"
            return any_of([condition(clause, target, self._bindings), contained])
        within = contained or self._of_array(clause, target)
        quickly = "" if through else f"jsonb_typeof({target.json}) = 'array' AND "
        head = f"{quickly}{is_array(target)} AND CASE jsonb_typeof({target.json}) WHEN 'array' THEN "
        array = Bounds(
            f"{head}{within.maybe} ELSE {'TRUE' if through else 'FALSE'} END", f"{head}{within.surely} ELSE FALSE END"
        )
        if not through and within.maybe == within.surely:
            array = exactly(array.maybe)
        if not is_about_one_value(clause):
            return array
        return any_of([condition(clause, target, self._bindings), array])

    def _of_array(self, clause: OneValue | HasSize | ElemMatch, target: Target) -> Bounds:
        """Return whether the array at the path fulfils a clause, as a whole or by an element."""
        if isinstance(clause, HasSize):
            return _has_size(clause, target.json, self._bindings)
        if isinstance(clause, ElemMatch):
            return self.some(target.json, clause.clause, _Documents if clause.documents else _Elements)
        if isinstance(clause, HasType) and "array" in clause.types:
            return ALWAYS
        if can_be_array(clause):
            return UNKNOWN
        return self.some(target.json, _about_itself(clause), _Elements)

    def _contained(self, clause: Leaf, target: Target) -> Bounds | None:
        """Return whether an array holds a value that JSON compares as MongoDB does, which an index may tell."""
        if isinstance(clause, Compare) and clause.comparison is Comparison.EQ and kind_of(clause.operand) in _CONTAINED:
            parameter = self._bindings.parameter(clause.operand, json_of, "jsonb")
            return exactly(f"{target.json} @> {parameter} AND {target.holds_array}")
        return None


class _Rows(_Documents):
    """A clause about the document of a row, which also has its `_id` as primary key."""

    def leaf(self, clause: Leaf | Text) -> Bounds:
        """Return the SQL of a clause, by the primary key or the full-text index where these tell."""
        if isinstance(clause, Text):
            return self._text(clause)
        by_id = self._by_id(clause) if clause.path == _ID else None
        return by_id or super().leaf(clause)

    def _text(self, clause: Text) -> Bounds:
        query = search_terms(clause, lambda words: self._bindings.parameter(words, str, "text"))
        return exactly(f"{TEXT_INDEX} @@ ({query})") if query else NEVER

    def _by_id(self, clause: Leaf) -> Bounds | None:
        """Return a clause about `_id` by the primary key, or None where that does not tell."""
        if isinstance(clause, In) and not clause.patterns:
            if isinstance(clause.operands, Slot):
                return exactly(f"id = ANY({self._bindings.parameter(clause.operands, _id_keys, 'text[]')})")
            equal = [self._compare_id(Compare(_ID, Comparison.EQ, value)) for value in values_of(clause)]
            return any_of([each for each in equal if each is not None])
        return self._compare_id(clause) if isinstance(clause, Compare) else None

    def _compare_id(self, clause: Compare) -> Bounds | None:
        operand, comparison = clause.operand, clause.comparison
        if comparison is Comparison.EQ:
            try:
                return exactly(f"id = {self._bindings.parameter(operand, id_key, 'text')}")
            except InvalidDocument:
                return NEVER
        kind = kind_of(operand)
        if kind in (values.NULL, values.ARRAY) or (not isinstance(operand, Slot) and is_nan(operand)):
            return None
        letter = LETTERS[kind]
        parameter = self._bindings.parameter(operand, id_key, "text")
        if kind == values.OBJECT:
            return perhaps(f"id >= '{letter}' AND id < '{chr(ord(letter) + 1)}'")
        bound = f"id < '{chr(ord(letter) + 1)}'" if comparison in _UPWARD else f"id >= '{letter}'"
        return exactly(f"id {_SIGNS[comparison]} {parameter} AND {bound}")


_UPWARD = (Comparison.GT, Comparison.GTE)


_SIGNS = {Comparison.GT: ">", Comparison.GTE: ">=", Comparison.LT: "<", Comparison.LTE: "<="}


class _Elements(_Scope):
    """A clause about an element of an array, whatever it is."""

    def __init__(self, bindings: Bindings, aliases: itertools.count[int], value: str) -> None:
        super().__init__(bindings, aliases)
        self._target = target_of(value)

    def leaf(self, clause: Leaf | Text) -> Bounds:
        """Return the SQL of a clause about the element itself."""
        target = self._target
        if isinstance(clause, Exists):
            return ALWAYS
        array = self._of_array(clause, target.json)
        if array is NEVER and is_about_one_value(clause):
            return condition(clause, target, self._bindings)
        head = f"{is_array(target)} AND CASE jsonb_typeof({target.json}) WHEN 'array' THEN "
        array = Bounds(f"{head}{array.maybe} ELSE FALSE END", f"{head}{array.surely} ELSE FALSE END")
        if not is_about_one_value(clause):
            return array
        return any_of([condition(clause, target, self._bindings), array])

    def _of_array(self, clause: Leaf | Text, json: str) -> Bounds:
        """Return whether an element that is an array fulfils a clause as a whole."""
        if isinstance(clause, HasSize):
            return _has_size(clause, json, self._bindings)
        if isinstance(clause, ElemMatch):
            return self.some(json, clause.clause, _Documents if clause.documents else _Elements)
        if isinstance(clause, HasType) and "array" in clause.types:
            return ALWAYS
        return UNKNOWN if is_about_one_value(clause) and can_be_array(clause) else NEVER


def _has_size(clause: HasSize, json: str, bindings: Bindings) -> Bounds:
    return exactly(f"jsonb_array_length({json}) = {bindings.parameter(clause.size, int, 'bigint')}")


def _about_itself(clause: OneValue) -> OneValue:
    return msgspec.structs.replace(clause, path=())


def _id_keys(listed: Any) -> list[str]:
    return [id_key(value) for value in listed]
