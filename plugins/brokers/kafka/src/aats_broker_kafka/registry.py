"""Payloads checked by the JSON schemas of a schema registry, through its REST interface."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import jsonschema
import msgspec

from aats_broker_kafka.settings import RegistrySettings
from aats_core.errors import BrokerError, BrokerUnavailable, InvalidPayload
from aats_core.message import Message, decode

SCHEMA_ID = "schema-id"
"""The header with the id of the schema that a payload was checked by."""


class Schema(NamedTuple):
    """A schema, and its id in the registry."""

    id: int
    validator: Any


class Registry:
    """Fetches the newest schema of a subject, and keeps it for a while; a subject without one allows everything."""

    def __init__(self, settings: RegistrySettings, timeout: float) -> None:
        self._settings = settings
        auth = (settings.user, settings.password.get_secret_value()) if settings.user else None
        self._client = httpx.AsyncClient(base_url=settings.url.rstrip("/"), timeout=timeout, auth=auth)
        self._kept: dict[str, tuple[float, Schema | None]] = {}
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def check(self, topic: str, message: Message, data: bytes) -> list[tuple[str, bytes]]:
        """Return headers that name the schema of an encoded message; raises `InvalidPayload` where it does not fit."""
        subject = self._settings.subject.format(topic=topic, type=message.type)
        schema = await self._schema(subject)
        if schema is None:
            return []
        payload = decode(data).payload
        value = None if payload is None else msgspec.json.decode(payload)
        error = jsonschema.exceptions.best_match(schema.validator.iter_errors(value))
        if error is not None:
            raise InvalidPayload(
                f"{topic}: {message.type}: not as {subject} wants it: {error.json_path}: {error.message}"
            )
        return [(SCHEMA_ID, str(schema.id).encode())]

    async def _schema(self, subject: str) -> Schema | None:
        until, schema = self._kept.get(subject, (0.0, None))
        if until > time.monotonic():
            return schema
        async with self._asking:
            until, schema = self._kept.get(subject, (0.0, None))
            if until > time.monotonic():
                return schema
            schema = await self._fetch(subject)
            self._kept[subject] = (time.monotonic() + self._settings.refresh, schema)
            return schema

    async def _fetch(self, subject: str) -> Schema | None:
        url = self._settings.url
        try:
            answer = await self._client.get(f"/subjects/{quote(subject, safe='')}/versions/latest")
        except httpx.HTTPError as error:
            raise BrokerUnavailable(f"the schema registry at {url} does not answer: {error!r}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise BrokerUnavailable(f"the schema registry at {url} answers {answer.status_code} for {subject}")
        if answer.is_error:
            raise BrokerError(f"the schema registry at {url} answers {answer.status_code} for {subject}: {answer.text}")
        return _read(subject, answer.content)


def _read(subject: str, content: bytes) -> Schema:
    try:
        found = msgspec.json.decode(content)
        if found.get("schemaType", "AVRO") != "JSON":
            raise BrokerError(f"{subject}: its schema is {found.get('schemaType', 'AVRO')}; payloads here are JSON")
        schema = msgspec.json.decode(found["schema"])
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
        return Schema(int(found["id"]), kind(schema))
    except (ValueError, KeyError, jsonschema.exceptions.SchemaError) as error:
        raise BrokerError(f"{subject}: what the registry gives is no JSON schema: {error}") from error
