"""Compiles a parsed filter to SQL over a table of documents."""

from __future__ import annotations

from typing import Any, TypeAlias

import apsw

from aats_core.query import Clause, matcher
from aats_core.query.filters import And, Compare, Comparison, In
from aats_store_sqlite.codec import id_key

Parameters: TypeAlias = tuple[Any, ...]


def condition(clause: Clause) -> tuple[str, Parameters]:
    """Return the SQL of a filter, over the columns `id` and `doc`, and the values to bind."""
    if isinstance(clause, And):
        parts = [condition(each) for each in clause.clauses]
        return " AND ".join(f"({sql})" for sql, _ in parts) or "TRUE", tuple(p for _, each in parts for p in each)
    if isinstance(clause, Compare) and clause.path == ("_id",) and clause.comparison is Comparison.EQ:
        return "id = ?", (id_key(clause.operand),)
    if isinstance(clause, In) and clause.path == ("_id",) and not clause.patterns and clause.operands:
        return f"id IN ({', '.join('?' * len(clause.operands))})", tuple(map(id_key, clause.operands))
    return "aats_match(doc, ?)", (apsw.pyobject(matcher(clause)),)
