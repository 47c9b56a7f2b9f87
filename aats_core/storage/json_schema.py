"""Holds documents to the JSON Schema of their collection."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from aats_core.errors import InvalidQuery, SchemaMismatch
from aats_core.store import Document

Validator = Callable[[Any], Any]


def validate(name: str, json_schema: dict[str, Any] | None, document: Document) -> None:
    """Raise `SchemaMismatch`, naming the collection, where the document does not fit; without a schema all do."""
    if json_schema is None:
        return
    from fastjsonschema import JsonSchemaValueException

    check = _compiled(msgspec.json.encode(json_schema))
    try:
        check(document)
    except JsonSchemaValueException as error:
        place = str(error.name).removeprefix("data").lstrip(".") or "the document"
        raise SchemaMismatch(
            f"{name}: document {document.get('_id')!r} does not fit the schema: {place}: {error.message}"
        ) from error


def check_json_schema(name: str, json_schema: dict[str, Any]) -> None:
    """Raise `InvalidQuery`, naming the collection, where that is no JSON Schema that documents can be held to."""
    from fastjsonschema import JsonSchemaDefinitionException

    try:
        _compiled(msgspec.json.encode(json_schema))
    except (JsonSchemaDefinitionException, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidQuery(f"{name}: the JSON Schema cannot be used: {error}") from error


@lru_cache(maxsize=256)
def _compiled(json_schema: bytes) -> Validator:
    import fastjsonschema

    definition = msgspec.json.decode(json_schema)
    validator: Validator = fastjsonschema.compile(
        definition, handlers={"http": _refuse, "https": _refuse, "file": _refuse}, use_default=False
    )
    return validator


def _refuse(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}, but nothing is fetched; put the definition into the schema itself")
