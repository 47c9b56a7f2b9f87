"""Holds documents to the JSON Schema of their collection before they travel; the server holds them to it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from aats_core.errors import SchemaMismatch
from aats_core.storage.json_schema import validate
from aats_core.store import Document

if TYPE_CHECKING:
    from aats_store_mongodb.database import Database

_SCHEMAS = "schemas"


class Validators:
    """The JSON Schemas of the team's collections, as the callers wrote them.

    They are read when the store is connected, and again before a document is refused. What another client has made
    stricter since then, the server alone refuses.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schemas: dict[str, dict[str, Any]] = {}

    async def load(self) -> None:
        """Read all of them."""
        self._schemas = {kept["_id"]: msgspec.json.decode(kept["schema"]) for kept in await self._read({})}

    async def _read(self, wanted: dict[str, Any]) -> list[Document]:
        kept: list[Document] = await self._database.own(_SCHEMAS).find(wanted).to_list(None)
        return kept

    async def keep(self, name: str, schema: dict[str, Any]) -> None:
        """Write down what a collection's documents have to fit from now on, as text: it may hold what no field can."""
        kept = {"_id": name, "schema": msgspec.json.encode(schema).decode()}
        await self._database.own(_SCHEMAS).replace_one({"_id": name}, kept, upsert=True)
        self._schemas[name] = msgspec.json.decode(kept["schema"])

    async def check(self, name: str, documents: Sequence[Document]) -> None:
        """Raise `SchemaMismatch` where a document does not fit."""
        schema = self._schemas.get(name)
        if schema is None:
            return
        try:
            _check(name, schema, documents)
        except SchemaMismatch:
            with self._database.call(name, {"find": "schemas"}):
                for kept in await self._read({"_id": name}):
                    self._schemas[name] = msgspec.json.decode(kept["schema"])
            if self._schemas[name] == schema:
                raise
            _check(name, self._schemas[name], documents)


def _check(name: str, schema: dict[str, Any], documents: Sequence[Document]) -> None:
    for document in documents:
        validate(name, schema, document)
