"""`ensure`: makes a collection's indexes and has the server hold its documents to a JSON Schema."""

from __future__ import annotations

import math
from typing import Any

from pymongo.errors import OperationFailure

from aats_core.query.filters import Path
from aats_core.storage.collection import check_schema
from aats_core.store import Schema
from aats_store_mongodb.database import Database
from aats_store_mongodb.jsonschema import dialect

_TEXT = {"default_language": "none", "language_override": "aats_language"}
"""Words are found as they are written, in no language's stems, whatever a field called `language` holds."""


async def ensure(database: Database, name: str, schema: Schema) -> None:
    """Add what a collection lacks of a schema; see `RecordStore.ensure`.

    An index over the same fields is replaced where it differs. Existing documents are not held to a new JSON Schema
    before they are written again.
    """
    check_schema(name, schema, _flaw)
    await _validate(database, name, schema)
    collection = database.collection(name)
    known: dict[str, Any] = await collection.index_information()
    for index_name, keys, options in [*_ordered(schema), *_text(schema, known)]:
        before = known.get(index_name)
        if before is None:
            await collection.create_index(keys, name=index_name, **options)
        elif not _same(before, options):
            await _replace(collection, index_name, before, keys, options)


def _flaw(path: Path) -> str:
    return "a part of its name begins with $" if any(part.startswith("$") for part in path) else ""


async def _validate(database: Database, name: str, schema: Schema) -> None:
    options: dict[str, Any] = {}
    if schema.json_schema is not None:
        options["validator"] = {"$jsonSchema": dialect(schema.json_schema, name)}
    if not await database.make(name, **options) and options:
        full_name = database.full_name(name)
        listed = await database.native.command("listCollections", filter={"name": full_name})
        (found,) = listed["cursor"]["firstBatch"]
        if found["options"].get("validator") != options["validator"]:
            await database.native.command("collMod", full_name, **options)
    if schema.json_schema is not None:
        await database.validators.keep(name, schema.json_schema)


def _ordered(schema: Schema) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return name, keys and options of each index that is not for text."""
    found = []
    for index in schema.indexes:
        if not index.text:
            options: dict[str, Any] = {"unique": True} if index.unique else {}
            if index.expire_after is not None:
                options["expireAfterSeconds"] = math.ceil(index.expire_after)
            found.append(("_".join(f"{field}_{way}" for field, way in index.fields.items()), index.fields, options))
    return [(name, list(fields.items()), options) for name, fields, options in found if fields != {"_id": 1}]


def _text(schema: Schema, known: dict[str, Any]) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return the one text index that a collection can have, over the fields that it had and those that are wanted."""
    wanted = [field for index in schema.indexes if index.text for field in index.fields]
    if not wanted:
        return []
    before = known.get("text", {}).get("weights", {})
    fields = sorted({*wanted, *before})
    return [("text", [(field, "text") for field in fields], {**_TEXT, "weights": dict.fromkeys(fields, 1)})]


def _same(known: dict[str, Any], options: dict[str, Any]) -> bool:
    interesting = ("unique", "expireAfterSeconds", "weights")
    return all(known.get(option) == options.get(option) for option in interesting)


async def _replace(collection: Any, name: str, before: dict[str, Any], keys: Any, options: dict[str, Any]) -> None:
    """Make an index anew; where that fails, the one that was there is made again."""
    await collection.drop_index(name)
    try:
        await collection.create_index(keys, name=name, **options)
    except OperationFailure:
        old = {
            option: value for option, value in before.items() if option not in ("v", "key", "ns", "textIndexVersion")
        }
        await collection.create_index(list(before["key"]), name=name, **old)
        raise
