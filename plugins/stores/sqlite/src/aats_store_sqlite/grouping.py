"""Groups that SQLite makes, where it compares and adds up their values as MongoDB does."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import apsw

from aats_core.query.filters import Path
from aats_core.storage.groups import Figure, Grouping, mean, total
from aats_core.store import Document
from aats_store_sqlite.bindings import from_row
from aats_store_sqlite.catalog import Collection
from aats_store_sqlite.codec import NAN, STRING, decode
from aats_store_sqlite.keys import json_path, type_at, value_at
from aats_store_sqlite.queries import Query

_EXTREMES = ("$min", "$max")
_OVERFLOW = "integer overflow"


def grouped(
    connection: apsw.Connection, collection: Collection, query: Query, grouping: Grouping
) -> list[Document] | None:
    """Return the groups of the documents that match, or None where only Python can tell what these are.

    That is so where floats or decimals are added up, and where a group is of a decimal, a whole float, an object or an
    array, which equal others that are written differently.
    """
    fields = _Fields()
    columns = [each for figure in grouping.figures for each in fields.columns(figure)]
    key, tail = "'null'", "HAVING count(*) > 0"
    if grouping.path:
        key, tail = _json_at(grouping.path), "GROUP BY 1"
    doubt = " OR ".join(fields.doubts) or "FALSE"
    source = fields.source(key, collection.table, query.where(collection))
    sql = f"SELECT {', '.join(('key', f'max({doubt})', *columns))} FROM {source} {tail}"
    try:
        rows: list[Any] = connection.execute(sql, query.parameters).fetchall()
    except apsw.SQLError as error:
        if _OVERFLOW in str(error):
            return None
        raise
    if any(row[1] for row in rows):
        return None
    keys = [decode(row[0]) for row in rows]
    if any(map(_is_doubtful, keys)) or len({(key.__class__, key) for key in keys}) < len(keys):
        return None
    return [_group(key, grouping.figures, row[2:]) for key, row in zip(keys, rows, strict=True)]


class _Fields:
    """The fields that figures are made of: for each its JSON type `t` and its value `v`, taken out of a document once.

    `doubts` are the conditions in which a value is none that SQLite treats as MongoDB does.
    """

    def __init__(self) -> None:
        self._paths: dict[Path, int] = {}
        self.doubts: dict[str, None] = {}

    def number_of(self, path: Path) -> int:
        """Return the number of a field's columns."""
        return self._paths.setdefault(path, len(self._paths))

    def columns(self, figure: Figure) -> Sequence[str]:
        """Return the columns that a figure is made of."""
        if not figure.path:
            return ("count(*)",)
        number = self.number_of(figure.path)
        kind, value = f"t{number}", f"v{number}"
        is_number = f"{kind} = 'text' AND {value} >= '{NAN}' AND {value} < '{STRING}'"
        if figure.accumulator in _EXTREMES:
            self.doubts[f"{kind} NOT IN ('integer', 'text', 'null') OR {is_number}"] = None
            return (f"{figure.accumulator[1:]}({value})",)
        self.doubts[f"{kind} = 'real' OR {is_number}"] = None
        added = f"sum(CASE {kind} WHEN 'integer' THEN {value} END)"
        return (added, f"total({kind} = 'integer')") if figure.accumulator == "$avg" else (added,)

    def source(self, key: str, table: str, where: str) -> str:
        """Return the query of all these; for its limit SQLite computes them here and not where they are used."""
        taken = [f"{key} AS key"]
        for path, number in self._paths.items():
            kind, arrays = f"ifnull({type_at(path, 'doc')}, 'null')", _arrays_above(path)
            kind = f"CASE WHEN {arrays} THEN 'array' ELSE {kind} END" if arrays else kind
            taken += [f"{kind} AS t{number}", f"{value_at(path, 'doc')} AS v{number}"]
        return f"(SELECT {', '.join(taken)} FROM {table} WHERE {where} LIMIT -1)"


def _arrays_above(path: Path) -> str:
    """Return whether arrays lie on the way to a value; nothing where there is no way."""
    return " OR ".join(f"{type_at(path[:end], 'doc')} = 'array'" for end in range(1, len(path)))


def _json_at(path: Path) -> str:
    """Return the JSON of the value that tells groups apart, an array where one lies on the way to it."""
    json, arrays = f"ifnull(doc -> {json_path(path)}, 'null')", _arrays_above(path)
    return f"CASE WHEN {arrays} THEN '[]' ELSE {json} END" if arrays else json


def _is_doubtful(key: Any) -> bool:
    """Tell whether others may equal a value that are written differently."""
    return key.__class__ in (Decimal, dict, list) or (key.__class__ is float and (key.is_integer() or key != key))


def _group(key: Any, figures: Sequence[Figure], found_in_sql: Sequence[Any]) -> Document:
    made: Document = {"_id": key}
    columns = iter(found_in_sql)
    for figure in figures:
        found = next(columns)
        if figure.accumulator in _EXTREMES:
            made[figure.name] = from_row("text", found)
        elif figure.accumulator == "$avg":
            made[figure.name] = mean(found, int(next(columns)))
        else:
            made[figure.name] = total(found, figure.each)
    return made
