"""The JSON Schema of a team file, for the plugins that are installed: editors complete and check the file with it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from aats_core.errors import PluginError
from aats_core.plugins import Catalog, Plugin, PluginKind, discover, settings_model
from aats_core.section import SECTION_NAME
from aats_core.settings import PluginSettings, TeamSection
from aats_core.team_file import default_plugin

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_SECRET: Schema = {
    "description": "A value that is read from an environment variable, or from a file beside the team file.",
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
    "examples": [{"env": "PASSWORD"}, {"file": "/run/secrets/password"}],
}
_SECRET_REF = {"$ref": "#/$defs/secret"}
_SCALARS = ("string", "integer", "number", "boolean")
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_NOTES = ("description", "default", "examples")


def team_schema(catalog: Catalog | None = None) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a team file, with the sections of all installed plugins.

    Every value may also be `{ env = … }` or `{ file = … }`. A plugin that cannot be loaded may have any settings,
    and its description says why.
    """
    catalog = catalog or discover()
    models, broken = _load(catalog)
    wanted: list[type[BaseModel]] = [TeamSection, *models.values()]
    references, generated = models_json_schema([(model, "validation") for model in dict.fromkeys(wanted)])
    definitions = {name: _model(schema, generated["$defs"]) for name, schema in generated["$defs"].items()}
    for plugin in catalog.plugins:
        section = dict(references[models[plugin], "validation"]) if plugin in models else broken[plugin]
        definitions[f"{plugin.kind}.{plugin.name}"] = section | {"properties": {"plugin": {"const": plugin.name}}}
    definitions |= {f"any-{kind}": _any_section(catalog, kind) for kind in PluginKind}
    return {
        "$schema": DIALECT,
        "title": "AATS team file",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "team": references[TeamSection, "validation"],
            "broker": {"description": "What carries the messages.", **_section(catalog, PluginKind.BROKER)},
            "stores": _table(catalog, PluginKind.STORE, "The databases, each under a name of its own."),
            "agents": _table(catalog, PluginKind.AGENT, "The agents, each under its name."),
            "integrations": _table(catalog, PluginKind.INTEGRATION, "The edges of the team, each under its name."),
        },
        "$defs": {"secret": _SECRET} | definitions,
    }


def _load(catalog: Catalog) -> tuple[dict[Plugin, type[PluginSettings]], dict[Plugin, Schema]]:
    models: dict[Plugin, type[PluginSettings]] = {}
    broken: dict[Plugin, Schema] = {}
    for plugin in catalog.plugins:
        try:
            models[plugin] = settings_model(plugin.kind, catalog.load(plugin.kind, plugin.name))
        except PluginError as error:
            broken[plugin] = {"type": "object", "description": str(error)}
    return models, broken


def _section(catalog: Catalog, kind: PluginKind, name: str = "") -> Schema:
    """Return what a section may hold: the settings of its default plugin, or of another that it names."""
    default = default_plugin(kind, name)
    installed = any(plugin.name == default for plugin in catalog.of_kind(kind))
    choices = [{"$ref": f"#/$defs/{kind}.{default}"}] if installed else []
    return {"anyOf": [*choices, {"$ref": f"#/$defs/any-{kind}"}]}


def _any_section(catalog: Catalog, kind: PluginKind) -> Schema:
    """Return what a section may hold that names its plugin."""
    names = dict.fromkeys(plugin.name for plugin in catalog.of_kind(kind))
    choices = [{"$ref": f"#/$defs/{kind}.{name}", "required": ["plugin"]} for name in names]
    return {"anyOf": choices} if choices else {"not": {}, "description": f"No {kind} plugin is installed."}


def _table(catalog: Catalog, kind: PluginKind, description: str) -> Schema:
    named_by_plugin = kind in (PluginKind.AGENT, PluginKind.INTEGRATION)
    names = dict.fromkeys(plugin.name for plugin in catalog.of_kind(kind)) if named_by_plugin else {}
    return {
        "description": description,
        "type": "object",
        "propertyNames": {"pattern": SECTION_NAME},
        "properties": {name: _section(catalog, kind, name) for name in names},
        "additionalProperties": _section(catalog, kind),
    }


def _model(schema: Schema, definitions: Schema) -> Schema:
    """Return the schema of a settings model (or of an enumeration) with secrets allowed as the values of its fields."""
    properties = schema.get("properties")
    if properties is None:
        return schema
    return schema | {"properties": {name: _value(field, definitions) for name, field in properties.items()}}


def _value(schema: Schema, definitions: Schema) -> Schema:
    inner = _with_bounds(schema)
    inner.pop("title", None)
    for key in ("items", "additionalProperties"):
        if isinstance(inner.get(key), dict):
            inner[key] = _value(inner[key], definitions)
    if not _is_scalar(inner, definitions):
        return inner
    notes = {key: inner.pop(key) for key in _NOTES if key in inner}
    return notes | {"anyOf": [inner, _SECRET_REF]}


def _with_bounds(schema: Schema) -> Schema:
    """Give the bounds of numbers their names in JSON Schema, which pydantic leaves out beside a union."""
    renamed = {_BOUNDS.get(key, key): value for key, value in schema.items()}
    if "anyOf" in renamed:
        renamed["anyOf"] = [_with_bounds(member) for member in renamed["anyOf"]]
    return renamed


def _is_scalar(schema: Schema, definitions: Schema) -> bool:
    if "$ref" in schema:
        return _is_scalar(definitions[schema["$ref"].rpartition("/")[2]], {})
    members = schema.get("anyOf", ())
    return schema.get("type") in _SCALARS or "const" in schema or any(_is_scalar(m, definitions) for m in members)
