"""Compiles a parsed filter to SQL over a table of documents, every value of the filter being bound.

What SQLite cannot say exactly it asks `aats_match` for, which evaluates one condition on one document: documents with
arrays in the middle of a path, decimals, integers too large for a float, and comparisons of whole objects and arrays.
It is asked only for the documents that the key at the path leaves open, so indexes serve these filters too.
"""

from __future__ import annotations

import itertools

from aats_core.errors import InvalidDocument, InvalidQuery
from aats_core.query.filters import (
    And,
    Clause,
    Compare,
    Comparison,
    ElemMatch,
    Exists,
    HasSize,
    In,
    Leaf,
    Not,
    OneValue,
    Or,
    Path,
    Slot,
    Text,
)
from aats_core.query.match import values_of
from aats_core.query.values import BINARY, DATE, STRING, rank
from aats_core.storage.clauses import can_be_array, is_about_one_value
from aats_core.storage.stored_form import MARK
from aats_store_sqlite.bindings import TEXT_TABLE, Bindings, Condition
from aats_store_sqlite.codec import ARRAY
from aats_store_sqlite.codec import STRING as TAGGED_STRING
from aats_store_sqlite.comparisons import Target, condition, itself, key_list
from aats_store_sqlite.identity import id_key
from aats_store_sqlite.keys import is_expressible, json_path, key_at, key_of, type_at, value_at

_ID = ("_id",)
_KEPT_BY_ID = frozenset({STRING, BINARY, DATE})
_ID_IS_STRING = f"(id < '{MARK}' OR id >= '{TAGGED_STRING}')"
"""Tells a string from null, NaN and decimals, whose keys as an `_id` are text too; it stands beside a range."""


def compile_filter(clause: Clause) -> Condition:
    """Return the SQL of a filter over the columns `id` and `doc` of a collection's table."""
    bindings = Bindings()
    return bindings.condition(_Rows(bindings, itertools.count(1)).compile(clause))


class _Scope:
    """What a clause is about; a subclass says how its leaves are written."""

    def __init__(self, bindings: Bindings, aliases: itertools.count[int]) -> None:
        self._bindings = bindings
        self._aliases = aliases

    def compile(self, clause: Clause) -> str:
        """Return the SQL of a clause."""
        if isinstance(clause, And):
            return " AND ".join(f"({self.compile(each)})" for each in clause.clauses) or "TRUE"
        if isinstance(clause, Or):
            return " OR ".join(f"({self.compile(each)})" for each in clause.clauses) or "FALSE"
        if isinstance(clause, Not):
            return f"({self.compile(clause.clause)}) IS NOT TRUE"
        return self.leaf(clause)

    def leaf(self, clause: Leaf | Text) -> str:
        """Return the SQL of a clause about one path."""
        raise NotImplementedError


class _Documents(_Scope):
    """A clause about a document, given as an expression of its stored form."""

    def __init__(self, bindings: Bindings, aliases: itertools.count[int], document: str) -> None:
        super().__init__(bindings, aliases)
        self._document = document

    def leaf(self, clause: Leaf | Text) -> str:
        """Return the SQL of a clause about one path of the document."""
        if isinstance(clause, Text):
            raise InvalidQuery("$text: cannot stand within $elemMatch")
        if not is_expressible(clause.path):
            return self._ask(clause)
        if isinstance(clause, Exists):
            there = f"{type_at(clause.path, self._document)} IS NOT NULL"
            if len(clause.path) == 1:
                return there
            return f"{there} OR ({self._is_array(clause.path)} AND {self._ask(clause)})"
        within = f"({self._is_array(clause.path)} AND {self._of_array(clause)})"
        if not is_about_one_value(clause):
            return within
        return f"({condition(clause, self._target(clause.path), self._bindings)}) OR {within}"

    def _ask(self, clause: Clause) -> str:
        return f"aats_match({self._document}, {self._bindings.test(clause)})"

    def _target(self, path: Path) -> Target:
        document = self._document
        return Target(key_at(path, document), type_at(path, document), value_at(path, document), self._ask)

    def _is_array(self, path: Path) -> str:
        return f"{key_at(path, self._document)} = '{ARRAY}'"

    def _of_array(self, clause: OneValue | HasSize | ElemMatch) -> str:
        """Return whether the array at the path fulfils a clause, as a whole or by an element."""
        if isinstance(clause, HasSize):
            size = f"json_array_length({self._document}, {json_path(clause.path)})"
            found = f"{size} = {self._bindings.parameter(clause.size, itself)}"
        elif isinstance(clause, ElemMatch):
            found = self._some_element(clause)
        elif can_be_array(clause):
            return self._ask(clause)
        else:
            alias = f"e{next(self._aliases)}"
            kind, value = f"{alias}.type", f"{alias}.value"
            target = Target(key_of(kind, value), kind, value, self._ask)
            found = self._exists(alias, clause.path, condition(clause, target, self._bindings))
        if len(clause.path) == 1:
            return found
        kind = type_at(clause.path, self._document)
        return f"CASE {kind} WHEN 'array' THEN {found} ELSE {self._ask(clause)} END"

    def _exists(self, alias: str, path: Path, sql: str) -> str:
        return f"EXISTS (SELECT 1 FROM json_each({self._document}, {json_path(path)}) AS {alias} WHERE {sql})"

    def _some_element(self, clause: ElemMatch) -> str:
        alias = f"e{next(self._aliases)}"
        if clause.documents:
            inner = _Documents(self._bindings, self._aliases, f"{alias}.value").compile(clause.clause)
            matching = (
                f"CASE {alias}.type WHEN 'object' THEN {inner} WHEN 'array' THEN {self._ask(clause)} ELSE FALSE END"
            )
        else:
            matching = _Elements(self._bindings, self._aliases, alias).compile(clause.clause)
        return self._exists(alias, clause.path, matching)


class _Rows(_Documents):
    """A clause about the document of a row, which also has its `_id` as primary key."""

    def __init__(self, bindings: Bindings, aliases: itertools.count[int]) -> None:
        super().__init__(bindings, aliases, "doc")

    def leaf(self, clause: Leaf | Text) -> str:
        """Return the SQL of a clause, by the primary key or the full-text index where these tell."""
        if isinstance(clause, Text):
            return self._text(clause)
        by_id = self._by_id(clause) if clause.path == _ID else None
        return by_id or super().leaf(clause)

    def _text(self, clause: Text) -> str:
        query = _text_query(clause)
        if not query:
            return "FALSE"
        self._bindings.searches = True
        parameter = self._bindings.parameter(query, itself)
        return f"rowid IN (SELECT rowid FROM {TEXT_TABLE} WHERE {TEXT_TABLE} MATCH {parameter})"

    def _by_id(self, clause: Leaf) -> str | None:
        """Return a clause about `_id` by the primary key, or None where that does not tell."""
        if isinstance(clause, In) and not clause.patterns:
            if isinstance(clause.operands, Slot):
                return f"id IN (SELECT value FROM json_each({self._bindings.parameter(clause.operands, key_list)}))"
            equal = [Compare(_ID, Comparison.EQ, value) for value in values_of(clause)]
            return " OR ".join(filter(None, map(self._by_id, equal))) or "FALSE"
        return self._compare_id(clause) if isinstance(clause, Compare) else None

    def _compare_id(self, clause: Compare) -> str | None:
        operand = clause.operand
        if clause.comparison is Comparison.EQ:
            try:
                return f"id = {self._bindings.parameter(operand, id_key)}"
            except InvalidDocument:
                return "FALSE"
        kind = operand.kind if isinstance(operand, Slot) else rank(operand)
        if kind not in _KEPT_BY_ID:
            return None
        found = condition(clause, Target("id", "", "", self._ask), self._bindings)
        return f"{found} AND {_ID_IS_STRING}" if kind == STRING else found


class _Elements(_Scope):
    """A clause about an element of an array, whatever it is."""

    def __init__(self, bindings: Bindings, aliases: itertools.count[int], alias: str) -> None:
        super().__init__(bindings, aliases)
        self._kind, self._value = f"{alias}.type", f"{alias}.value"
        self._target = Target(key_of(self._kind, self._value), self._kind, self._value, self._ask)

    def leaf(self, clause: Leaf | Text) -> str:
        """Return the SQL of a clause about the element itself."""
        if isinstance(clause, Exists):
            return "TRUE"
        of_array = f"({self._kind} = 'array' AND {self._ask(clause)})"
        if not is_about_one_value(clause):
            return of_array
        return f"({condition(clause, self._target, self._bindings)}) OR {of_array}"

    def _ask(self, clause: Clause) -> str:
        return f"aats_value({self._kind}, {self._value}, {self._bindings.test(clause)})"


def _text_query(clause: Text) -> str:
    """Return what FTS5 is to search for; empty where nothing can be found."""
    wanted = " AND ".join(map(_quoted, clause.phrases)) or " OR ".join(map(_quoted, clause.words))
    unwanted = " OR ".join(map(_quoted, clause.excluded))
    return f"({wanted}) NOT ({unwanted})" if wanted and unwanted else wanted


def _quoted(words: str) -> str:
    return '"' + words.replace('"', '""') + '"'
