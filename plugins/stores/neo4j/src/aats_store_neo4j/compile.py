"""Filters as conditions of Cypher on the properties that stand for documents (`native`).

A condition holds for every document that matches. One that is `exact` holds for no other, except perhaps for documents
that are marked as inexact. Values are parameters; paths stand between backticks, where they need no escaping, or their
condition is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

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
    Text,
)
from aats_core.query.match import values_of
from aats_core.query.shape import EXACT_INT
from aats_core.query.values import ARRAY, BOOLEAN, DATE, NULL, NUMBER, OBJECT, STRING, is_nan, rank
from aats_core.storage.evaluated.keys import LETTERS, NAN
from aats_store_neo4j.native import ALL, INEXACT, LONGEST, MANY, is_native, property_name, value_key

_OPERATORS = {Comparison.GT: ">", Comparison.GTE: ">=", Comparison.LT: "<", Comparison.LTE: "<="}
_PREFIX = re.compile(r"\^([A-Za-z0-9_ :/-]+)")
_TYPES = {STRING: "STRING", BOOLEAN: "BOOLEAN", DATE: "ZONED DATETIME"}
_CLASSES = {
    "string": STRING, "object": OBJECT, "array": ARRAY, "bool": BOOLEAN, "date": DATE, "null": NULL, "number": NUMBER,
}  # fmt: skip


class Condition(NamedTuple):
    """A condition of Cypher on the node `d`, and whether it says exactly what the filter says."""

    cypher: str
    exact: bool


ANY = Condition("true", exact=False)


class _Field(NamedTuple):
    """The properties for what is at a path."""

    name: str

    @property
    def value(self) -> str:
        return f"d.`{self.name}`"

    @property
    def many(self) -> str:
        return f"d.`{MANY}{self.name}` = true"

    @property
    def keys(self) -> str:
        return f"d.`{ALL}{self.name}`"

    def among(self, test: str) -> str:
        """Return the condition that the list holds a key `k` of which that is true."""
        return f"({self.many} AND any(k IN {self.keys} WHERE {test}))"


class Compiler:
    """Compiles one filter; `parameters` are what its condition has to be given."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}

    def compile(self, clause: Clause) -> Condition:
        """Return the condition of a clause."""
        return _COMPILERS[clause.__class__](self, clause)

    def bind(self, value: Any) -> str:
        """Return the parameter that stands for a value."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def conjunction(self, clause: And) -> Condition:
        """All of them."""
        parts = [self.compile(each) for each in clause.clauses]
        wanted = [each.cypher for each in parts if each.cypher != "true"]
        return Condition(" AND ".join(wanted) or "true", all(each.exact for each in parts))

    def disjunction(self, clause: Or) -> Condition:
        """One of them."""
        return _either([self.compile(each) for each in clause.clauses])

    def negation(self, clause: Not) -> Condition:
        """Not so; of an inexact document nobody knows."""
        inner = self.compile(clause.clause)
        if not inner.exact:
            return ANY
        return Condition(f"(NOT coalesce({inner.cypher}, false) OR d.`{INEXACT}` = true)", exact=True)

    def compare(self, clause: Compare) -> Condition:
        """A value, or one of several, compares so."""
        name = property_name(clause.path)
        return ANY if name is None else self._compared(_Field(name), clause.path, clause.comparison, clause.operand)

    def _compared(self, field: _Field, path: Path, comparison: Comparison, operand: Any) -> Condition:
        kind = rank(operand)
        if kind == NULL or is_nan(operand):
            if comparison in (Comparison.GT, Comparison.LT):
                return Condition("false", exact=True)
            comparison = Comparison.EQ
        if kind == NULL:
            return self._null(field, path)
        if comparison is Comparison.EQ:
            return self._equal(field, operand)
        if kind in (OBJECT, ARRAY):
            return self._of_class(field, kind, exact=False)
        return self._ordered(field, comparison, operand)

    def _null(self, field: _Field, path: Path) -> Condition:
        if len(path) > 1:
            return Condition(f"{field.value} IS NULL", exact=False)
        null = self.bind(LETTERS[NULL])
        return Condition(f"({field.value} IS NULL AND coalesce({null} IN {field.keys}, true))", exact=True)

    def _equal(self, field: _Field, operand: Any) -> Condition:
        key = value_key(operand)
        among = f"({field.many} AND {self.bind(key)} IN {field.keys})"
        plain = plain_number(operand)
        exact = (
            rank(operand) not in (OBJECT, ARRAY)
            and len(key) <= LONGEST
            and (plain is not None or not _is_number(operand))
        )
        if plain is not None:
            operand = plain
        if not is_native(operand):
            return Condition(among, exact)
        return Condition(f"({field.value} = {self.bind(operand)} OR {among})", exact)

    def _ordered(self, field: _Field, comparison: Comparison, operand: Any) -> Condition:
        kind, exact, operator = rank(operand), True, _OPERATORS[comparison]
        if kind == NUMBER and (plain := plain_number(operand)) is None:
            operand, exact, operator = float(operand), False, f"{operator[0]}="
        elif kind == NUMBER:
            operand = plain
        key = value_key(operand)
        if len(key) > LONGEST or (kind == NUMBER and float(operand) != operand):
            exact = False
        within = operator if exact else f"{operator[0]}="
        letter = LETTERS[kind]
        low, high = self.bind(letter), self.bind(chr(ord(letter) + 1))
        bound = self.bind(key)
        test = f"k {within} {bound}"
        if kind == NUMBER and within in "<>":
            test = f"({test} OR k = {bound} AND d.`{INEXACT}` = true)"
        among = field.among(f"k >= {low} AND k < {high} AND {test}")
        if kind == STRING:
            operand = operand[:LONGEST]
        elif kind not in (NUMBER, BOOLEAN, DATE):
            return Condition(among, exact)
        return Condition(f"({field.value} {within} {self.bind(operand)} OR {among})", exact)

    def _of_class(self, field: _Field, kind: int, *, exact: bool) -> Condition:
        letter = LETTERS[kind]
        among = field.among(f"k STARTS WITH {self.bind(letter)}")
        if kind == NUMBER:
            among = f"{among} OR {field.among(f'k = {self.bind(NAN)}')}"
            value = f"{field.value} IS :: INTEGER NOT NULL OR {field.value} IS :: FLOAT NOT NULL"
        elif kind in _TYPES:
            value = f"{field.value} IS :: {_TYPES[kind]} NOT NULL"
        else:
            return Condition(among, exact)
        return Condition(f"({value} OR {among})", exact)

    def membership(self, clause: In) -> Condition:
        """Equal to one of them, or like one of the patterns."""
        name = property_name(clause.path)
        if name is None:
            return ANY
        field, values = _Field(name), values_of(clause)
        simple = [each for each in values if _is_simple(each)]
        rest = [each for each in values if not _is_simple(each)]
        parts = [self._compared(field, clause.path, Comparison.EQ, each) for each in rest]
        if simple:
            among = field.among(f"k IN {self.bind([value_key(each) for each in simple])}")
            parts.append(Condition(f"({field.value} IN {self.bind(simple)} OR {among})", exact=True))
        return _either(parts + [self._like(field, each) for each in clause.patterns])

    def exists(self, clause: Exists) -> Condition:
        """There is something."""
        name = property_name(clause.path)
        if name is None:
            return ANY
        return Condition(f"({_Field(name).value} IS NOT NULL OR {_Field(name).many})", exact=True)

    def has_type(self, clause: HasType) -> Condition:
        """Of one of the types; of numbers Cypher does not tell all apart."""
        name = property_name(clause.path)
        if name is None or not clause.types <= _CLASSES.keys():
            return ANY
        return _either([self._of_class(_Field(name), _CLASSES[each], exact=True) for each in sorted(clause.types)])

    def matches(self, clause: Matches) -> Condition:
        """A string like the pattern."""
        name = property_name(clause.path)
        return ANY if name is None else self._like(_Field(name), clause.pattern)

    def _like(self, field: _Field, pattern: re.Pattern[str]) -> Condition:
        prefix = _PREFIX.fullmatch(pattern.pattern)
        if prefix is None or pattern.flags & (re.IGNORECASE | re.MULTILINE | re.VERBOSE):
            return self._of_class(field, STRING, exact=False)
        begin = prefix[1]
        among = field.among(f"k STARTS WITH {self.bind(LETTERS[STRING] + begin)}")
        return Condition(f"({field.value} STARTS WITH {self.bind(begin)} OR {among})", len(begin) < LONGEST)

    def modulo(self, clause: Modulo) -> Condition:
        """A number."""
        name = property_name(clause.path)
        return ANY if name is None else self._of_class(_Field(name), NUMBER, exact=False)

    def array(self, clause: HasSize | ElemMatch) -> Condition:
        """An array, or something else that is not a plain value."""
        name = property_name(clause.path) if clause.path else None
        return ANY if name is None else Condition(_Field(name).many, exact=False)

    def text(self, _: Text) -> Condition:
        """Whatever; the full-text index narrows it down."""
        return ANY


def _either(parts: list[Condition]) -> Condition:
    if any(each.cypher == "true" for each in parts):
        return Condition("true", all(each.exact for each in parts))
    found = " OR ".join(each.cypher for each in parts)
    return Condition(f"({found})" if found else "false", all(each.exact for each in parts))


def _is_simple(value: Any) -> bool:
    """Tell whether a value equals exactly what has its key."""
    kind = value.__class__
    return (kind is str and len(value) < LONGEST) or (kind is int and -EXACT_INT <= value <= EXACT_INT)


def _is_number(value: Any) -> bool:
    return rank(value) == NUMBER


def plain_number(value: Any) -> int | float | None:
    """Return a number as one that Cypher compares exactly with integers and floats; None where there is no such."""
    if value.__class__ is float or (value.__class__ is int and -EXACT_INT <= value <= EXACT_INT):
        number: int | float = value
        return number
    if rank(value) != NUMBER or (value == value and float(value) != value):
        return None
    return float(value)


_COMPILERS: dict[type, Callable[[Compiler, Any], Condition]] = {
    And: Compiler.conjunction,
    Or: Compiler.disjunction,
    Not: Compiler.negation,
    Compare: Compiler.compare,
    In: Compiler.membership,
    Exists: Compiler.exists,
    HasType: Compiler.has_type,
    Matches: Compiler.matches,
    Modulo: Compiler.modulo,
    HasSize: Compiler.array,
    ElemMatch: Compiler.array,
    Text: Compiler.text,
}
