"""Typed columns for the scalar properties of a collection's JSON Schema, and a view that shows them, for use in SQL.

The server computes them from the document and keeps them beside it, so nothing else changes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aats_core.errors import InvalidQuery
from aats_core.storage.stored_form import MARK
from aats_store_postgres.catalog import Collection
from aats_store_postgres.codec import DATE, DECIMAL
from aats_store_postgres.expressions import is_expressible, literal
from aats_store_postgres.session import Session

_MOST_BYTES = 63
_PREFIX = "f_"
_TYPES = {"string": "text", "integer": "bigint", "number": "numeric", "boolean": "boolean"}
_TIME = "timestamptz"
_ID, _DOCUMENT = "_id", "_doc"

_TEXT = "value #>> '{}'"
_IS_TAGGED = f"jsonb_typeof(value) = 'string' AND left({_TEXT}, 2) ="
_CONVERSIONS = {
    "text": f"CASE WHEN jsonb_typeof(value) = 'string' AND left({_TEXT}, 1) <> '{MARK}' THEN {_TEXT} END",
    "bigint": "CASE WHEN jsonb_typeof(value) = 'number' AND value::numeric % 1 = 0"
    " AND abs(value::numeric) < 9223372036854775808 THEN value::numeric::bigint END",
    "numeric": f"CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric"
    f" WHEN {_IS_TAGGED} '{MARK}{DECIMAL}' THEN substr({_TEXT}, 3)::numeric END",
    "boolean": "CASE WHEN jsonb_typeof(value) = 'boolean' THEN value::boolean END",
    _TIME: f"CASE WHEN {_IS_TAGGED} '{MARK}{DATE}' THEN substr({_TEXT}, 3)::timestamptz END",
}
"""How a value becomes one of a type: null where it is none of it, so that no document is refused."""


class TypedColumns(msgspec.Struct, frozen=True):
    """A view over a collection, to be written as it stands here, and the types of its columns."""

    view: str
    types: dict[str, str]


def wanted(collection: Collection) -> dict[str, str]:
    """Return the scalar properties of a collection's JSON Schema and their types; dates are those of no type."""
    found: dict[str, str] = {}
    for name, property_schema in ((collection.schema.json_schema or {}).get("properties") or {}).items():
        fits = is_expressible((name,)) and 0 < len(name.encode()) <= _MOST_BYTES - len(_PREFIX)
        kind = _type_of(property_schema)
        if kind and fits and name not in (_ID, _DOCUMENT):
            found[name] = kind
    return found


def _type_of(schema: Any) -> str | None:
    if not isinstance(schema, dict):
        return None
    listed = schema.get("type")
    kinds = [kind for kind in (listed if isinstance(listed, list) else [listed]) if kind not in (None, "null")]
    if not kinds and schema.get("format") == "date-time":
        return _TIME
    return _TYPES.get(kinds[0]) if len(kinds) == 1 else None


async def existing(session: Session, collection: Collection) -> dict[str, str]:
    """Return the properties that a collection has columns for, and their types."""
    rows = await session.fetch(
        "SELECT substr(attname, 3), format_type(atttypid, NULL) FROM pg_attribute"
        f" WHERE attrelid = $1::text::regclass AND attname LIKE '{_PREFIX[0]}\\_%' AND NOT attisdropped",
        collection.table,
    )
    return {row[0]: _TIME if row[1].startswith("timestamp") else row[1] for row in rows}


async def make(session: Session, collection: Collection, namespace: str) -> TypedColumns:
    """Make the columns that a collection lacks, drop those that its schema does not name, and show them in a view."""
    types, before = wanted(collection), await existing(session, collection)
    space = collection.space
    view = f"{space}.{_quoted(f'{namespace}.{collection.name}')}"
    if len(f"{namespace}.{collection.name}".encode()) > _MOST_BYTES:
        raise InvalidQuery(f"{collection.name}: its view would have a name of more than {_MOST_BYTES} bytes")
    changes = [f"DROP COLUMN {_quoted(_PREFIX + name)}" for name, kind in before.items() if types.get(name) != kind] + [
        f"ADD COLUMN {_quoted(_PREFIX + name)} {kind} GENERATED ALWAYS AS"
        f" ({space}.as_{kind}(body::jsonb -> {literal(name)})) STORED"
        for name, kind in types.items()
        if before.get(name) != kind
    ]
    for kind, conversion in _CONVERSIONS.items():
        await session.run(
            f"CREATE OR REPLACE FUNCTION {space}.as_{kind}(value jsonb) RETURNS {kind} IMMUTABLE STRICT PARALLEL SAFE"
            f" LANGUAGE sql AS $function${'SELECT ' + conversion}$function$"
        )
    await session.run(f"DROP VIEW IF EXISTS {view}")
    if changes:
        await session.run(f"ALTER TABLE {collection.table} {', '.join(changes)}")
    shown = ", ".join(
        [
            f"{space}.as_text(doc -> '_id') AS {_quoted(_ID)}",
            *(f"{_quoted(_PREFIX + name)} AS {_quoted(name)}" for name in types),
            f"doc AS {_quoted(_DOCUMENT)}",
        ]
    )
    await session.run(f"CREATE VIEW {view} AS SELECT {shown} FROM {collection.table}")
    return TypedColumns(view, types)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
