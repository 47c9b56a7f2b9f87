"""Says a JSON Schema in MongoDB's dialect of it, which knows no `integer`, no references and no later keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aats_core.errors import InvalidQuery

_NOTES = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "default", "examples", "readOnly", "writeOnly", "deprecated"}
)
"""Keywords that ask nothing of a document."""
_AS_THEY_ARE = frozenset(
    {"title", "description", "enum", "required", "multipleOf", "maximum", "minimum", "maxLength", "minLength"}
    | {"pattern", "maxItems", "minItems", "uniqueItems", "maxProperties", "minProperties"}
)
_SCHEMAS = frozenset({"not", "additionalProperties", "additionalItems", "items"})
_MANY_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties"})
_TYPES = {
    "object": ["object"],
    "array": ["array"],
    "string": ["string"],
    "number": ["number"],
    "integer": ["int", "long"],
    "boolean": ["bool"],
    "null": ["null"],
}
_MOST_REFERENCES = 50


def dialect(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the same schema as MongoDB takes it; raises `InvalidQuery` on what the server cannot hold anything to."""
    return _Translation(schema, name).of(schema, "", 0)


class _Translation:
    def __init__(self, root: Mapping[str, Any], name: str) -> None:
        self._root = root
        self._name = name

    def of(self, schema: Any, place: str, depth: int) -> dict[str, Any]:
        if schema is True:
            return {}
        if schema is False:
            return {"not": {}}
        if not isinstance(schema, Mapping):
            raise self._refused(place, f"a schema is an object, not {schema!r}")
        if "$ref" in schema:
            return self._referred(schema["$ref"], place, depth)
        result: dict[str, Any] = {}
        for keyword, operand in schema.items():
            result.update(self._keyword(keyword, operand, f"{place}/{keyword}", depth))
        return result

    def _keyword(self, keyword: str, operand: Any, place: str, depth: int) -> dict[str, Any]:
        if keyword in _NOTES:
            return {}
        if keyword in _AS_THEY_ARE:
            return {keyword: operand}
        if keyword in _MANY_SCHEMAS or (keyword == "items" and isinstance(operand, list)):
            return {keyword: [self.of(each, f"{place}/{number}", depth) for number, each in enumerate(operand)]}
        if keyword in _SCHEMAS:
            simple = isinstance(operand, bool) and keyword.startswith("additional")
            return {keyword: operand if simple else self.of(operand, place, depth)}
        if keyword in _NAMED_SCHEMAS:
            return {keyword: {name: self.of(each, f"{place}/{name}", depth) for name, each in operand.items()}}
        other = _OTHERS.get(keyword)
        if other is None:
            raise self._refused(place, "MongoDB cannot hold documents to this keyword")
        try:
            return other(operand)
        except KeyError as error:
            raise self._refused(place, f"unknown type {error}; known are {', '.join(_TYPES)}") from error

    def _referred(self, reference: Any, place: str, depth: int) -> dict[str, Any]:
        if not isinstance(reference, str) or not reference.startswith("#") or depth > _MOST_REFERENCES:
            raise self._refused(place, f"$ref {reference!r} leads out of the schema, or back to itself")
        node: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part:
                node = node.get(part) if isinstance(node, Mapping) else None
        return self.of(node, f"{place}/$ref", depth + 1)

    def _refused(self, place: str, why: str) -> InvalidQuery:
        return InvalidQuery(f"{self._name}: the JSON Schema cannot be used: {place or '/'}: {why}")


def _type(operand: Any) -> dict[str, Any]:
    wanted = operand if isinstance(operand, list) else [operand]
    return {"bsonType": [each for name in wanted for each in _TYPES[name]]}


def _exclusive(limit: str, keyword: str) -> Callable[[Any], dict[str, Any]]:
    return lambda operand: {keyword: operand} if isinstance(operand, bool) else {limit: operand, keyword: True}


_OTHERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "type": _type,
    "const": lambda operand: {"enum": [operand]},
    "exclusiveMinimum": _exclusive("minimum", "exclusiveMinimum"),
    "exclusiveMaximum": _exclusive("maximum", "exclusiveMaximum"),
    "dependentRequired": lambda operand: {"dependencies": operand},
}
