"""The reference of the team file as Markdown, made from the settings models: `python -m aats_core.team_reference`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from aats_core.plugins import Catalog, PluginKind, discover, settings_model
from aats_core.settings import (
    DURATION,
    AgentSettings,
    BrokerSettings,
    IntegrationSettings,
    StoreSettings,
    TeamSection,
)

Schema = dict[str, Any]

EMBEDDED = {
    PluginKind.BROKER: ("memory",),
    PluginKind.STORE: ("sqlite",),
    PluginKind.AGENT: ("project-manager", "task-scheduler", "shell", "http", "python"),
    PluginKind.INTEGRATION: (),
}
"""The plugins that the page is about; the README of any other describes its own section."""

_TABLES = (
    (PluginKind.BROKER, "[broker]", BrokerSettings),
    (PluginKind.STORE, "[stores.<name>]", StoreSettings),
    (PluginKind.AGENT, "[agents.<name>]", AgentSettings),
    (PluginKind.INTEGRATION, "[integrations.<name>]", IntegrationSettings),
)
_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true` or `false`"}
_FORMATS = {"password": "secret", "path": "path", "uri": "URL"}
_BOUNDS = {
    "minimum": "at least",
    "ge": "at least",
    "exclusiveMinimum": "more than",
    "gt": "more than",
    "maximum": "at most",
    "le": "at most",
    "exclusiveMaximum": "less than",
    "lt": "less than",
}

_INTRODUCTION = """\
# The team file

Made from the settings models by `python -m aats_core.team_reference > docs/team-file.md`; change those, not this page.

A team file is TOML. Every section and every key may be left out, an empty file is a team:

| section | what it is | where it is left out |
|---|---|---|
| `[team]` | the team itself | as below |
| `[broker]` | what carries the messages | plugin `memory` |
| `[stores.<name>]` | a database | one store `primary` of plugin `sqlite` |
| `[agents.<name>]` | an agent; its plugin is `<name>` unless `plugin` says another | no other than the next two |
| `[agents.project-manager]`, `[agents.task-scheduler]` | the agents that carry out plans | there all the same |
| `[integrations.<name>]` | an edge of the team; its plugin as for agents | none |

A name is made of letters, digits, `-` and `_`. An unknown section or key is an error. `aats check FILE` shows what each
section comes to, `aats config schema` prints a JSON Schema with which editors complete the file.

## Above the file

What a key says is replaced by an environment variable, and that by `--set`:

| written | sets |
|---|---|
| `AATS_TEAM__NAMESPACE=acme` | `namespace` in `[team]` |
| `AATS_AGENTS__CODE_REVIEW__REPLICAS=4` | `replicas` in `[agents.code-review]` |
| `--set agents.build.replicas=4` | `replicas` in `[agents.build]` |
| `--set 'agents.build.labels."cost.center"=7'` | a key with a dot in it |

In a variable `__` parts the names; within a name `_` also stands for `-`: the section meant is the one that is there,
or else the one with dashes. Keys in variables are lower case. A value is TOML (`4`, `true`, `["a", "b"]`,
`{ env = "X" }`); what is no TOML, or stands where text is wanted, is taken as text. Of a table only
the keys that are set are replaced.

## Secrets

Instead of any single value stands `{ env = "NAME" }`, the value of an environment variable, or `{ file = "path" }`, the
content of a file (relative to the team file, without the newline at its end); a table with one of these as its only key
always means that. Such values, the keys marked *secret* below, and the user and password in any URL are masked in logs,
errors and the output of `aats check`; in logs a number of fewer than four digits is not.

```toml
[stores.primary]
plugin = "postgres"
dsn = { file = "/run/secrets/postgres" }
```

## Lengths of time

Where a *time* is wanted stands a number of seconds, or text such as `"250s"`, `"15m"`, `"2h"`, `"1d"` or `"1h30m"`.
"""


def team_reference(catalog: Catalog | None = None) -> str:
    """Return the page: how a team file works, and the keys of `[team]` and of the embedded plugins' sections."""
    catalog = catalog or discover()
    parts = [_INTRODUCTION, _section("`[team]`", TeamSection)]
    for kind, title, base in _TABLES:
        parts.append(_section(f"`{title}`, whatever the plugin", base))
        for name in EMBEDDED[kind]:
            model = settings_model(kind, catalog.load(kind, name))
            parts.append(_section(f"`{title}` of plugin `{name}`", model, base=base))
    return "\n".join(parts)


def _section(title: str, model: type[BaseModel], *, base: type[BaseModel] | None = None) -> str:
    """Return a heading and a table of the keys, without those that are as in the base."""
    known = set(_rows_of(base)) if base else set()
    rows = [row for row in _rows_of(model) if row not in known]
    if not rows:
        return f"## {title}\n\nNo keys of its own.\n"
    return "\n".join([f"## {title}\n", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _rows_of(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    return list(_rows(schema, schema.get("$defs", {}), ""))


def _rows(schema: Schema, definitions: Schema, prefix: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        below = _resolve(field, definitions)
        if "properties" in below:
            yield from _rows(below, definitions, f"{prefix}{name}.")
            continue
        default = "required" if name in required else _literal(field.get("default"))
        examples = "".join(f" For example {_literal(example)}." for example in field.get("examples", ()))
        cells = (f"`{prefix}{name}`", _type(below, definitions), default, field.get("description", "") + examples)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _resolve(schema: Schema, definitions: Schema) -> Schema:
    found: Schema = definitions.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _type(schema: Schema, definitions: Schema) -> str:
    """Say in words what fits a schema."""
    schema = _resolve(schema, definitions)
    members = [member for member in schema.get("anyOf", ()) if member.get("type") != "null"]
    if any(member.get("pattern") == DURATION for member in members):
        words = "time"
    elif members:
        words = " or ".join(dict.fromkeys(_type(member, definitions) for member in members))
    elif "enum" in schema:
        words = "one of " + ", ".join(map(_literal, schema["enum"]))
    elif schema.get("type") == "array":
        words = f"list of {_type(schema.get('items', {}), definitions)}"
    elif schema.get("type") == "object":
        of = schema.get("additionalProperties")
        words = f"table of {_type(of, definitions)}" if isinstance(of, dict) else "table"
    else:
        words = _FORMATS.get(schema.get("format", "")) or _TYPES.get(schema.get("type", ""), "any value")
    return ", ".join([words, *(f"{said} {schema[key]}" for key, said in _BOUNDS.items() if key in schema)])


def _literal(value: Any) -> str:
    """Write a value as TOML does; nothing where there is none."""
    return "" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {_toml(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(team_reference())
