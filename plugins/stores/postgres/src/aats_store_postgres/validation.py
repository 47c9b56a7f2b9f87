"""Holds documents to the JSON Schema of their collection, before they go to the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import fastjsonschema
import msgspec

from aats_core.errors import InvalidQuery, SchemaMismatch
from aats_core.store import Document
from aats_store_postgres.catalog import Collection

Validator = Callable[[Any], Any]


def validate(collection: Collection, document: Document) -> None:
    """Raise `SchemaMismatch` where the document does not fit."""
    if collection.schema.json_schema is None:
        return
    check = _compiled(msgspec.json.encode(collection.schema.json_schema))
    try:
        check(document)
    except fastjsonschema.JsonSchemaValueException as error:
        place = str(error.name).removeprefix("data").lstrip(".") or "the document"
        raise SchemaMismatch(
            f"{collection.name}: document {document.get('_id')!r} does not fit the schema: {place}: {error.message}"
        ) from error


def check_schema(schema: dict[str, Any], name: str) -> None:
    """Raise `InvalidQuery` where that is no JSON Schema that documents can be held to."""
    try:
        _compiled(msgspec.json.encode(schema))
    except (fastjsonschema.JsonSchemaDefinitionException, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidQuery(f"{name}: the JSON Schema cannot be used: {error}") from error


@lru_cache(maxsize=256)
def _compiled(schema: bytes) -> Validator:
    definition = msgspec.json.decode(schema)
    validator: Validator = fastjsonschema.compile(
        definition, handlers={"http": _refuse, "https": _refuse, "file": _refuse}, use_default=False
    )
    return validator


def _refuse(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}, but nothing is fetched; put the definition into the schema itself")
