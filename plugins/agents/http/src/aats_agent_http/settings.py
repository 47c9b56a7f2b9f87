"""What a team file may say about an agent that calls HTTP services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, HttpUrl, SecretStr, field_validator

from aats_core.settings import AgentSettings, Seconds


class HttpSettings(AgentSettings):
    """The section of an agent that calls HTTP services."""

    base_url: Annotated[
        HttpUrl | None,
        Field(
            description="Where a task's relative `url` counts from. The agent's `headers` go there and nowhere else.",
            examples=["https://registry.example/api/v2"],
        ),
    ] = None
    headers: Annotated[
        dict[str, SecretStr],
        Field(
            default_factory=dict,
            description="Headers of every request to `base_url`, or where there is none, of every request.",
            examples=[{"Authorization": {"env": "REGISTRY_AUTHORIZATION"}}],
        ),
    ]
    allow: Annotated[
        list[str] | None,
        Field(
            description="The only hosts that may be called, besides that of `base_url`: `host`, `host:port`, or "
            "`*.domain` for every host within a domain. Redirects to others are refused too.",
            examples=[["api.example", "*.internal.example", "localhost:8080"]],
        ),
    ] = None
    verify: Annotated[bool, Field(description="Whether the certificates of servers are checked.")] = True
    ca: Annotated[
        Path | None,
        Field(
            description="A PEM file of authorities that are trusted besides the system's.",
            examples=["/etc/ssl/acme.pem"],
        ),
    ] = None
    timeout: Annotated[
        Seconds, Field(gt=0, description="Seconds for one request, where its task does not say.", examples=["2m"])
    ] = 30.0
    max_wait: Annotated[
        Seconds,
        Field(
            ge=0,
            description="Seconds that a task may wait, all in all, where the server answers that it should come back "
            "later; the attempt fails where that takes longer.",
            examples=["5m"],
        ),
    ] = 60.0
    max_body: Annotated[
        int, Field(ge=0, description="Bytes that a response may have, where its task does not say.", examples=[65536])
    ] = 1024 * 1024
    connections: Annotated[int, Field(ge=1, description="Connections that are open at the same time.")] = 100

    @field_validator("allow")
    @classmethod
    def _hosts(cls, allow: list[str] | None) -> list[str] | None:
        odd = [entry for entry in allow or () if not entry or "/" in entry or "*" in entry.removeprefix("*.")]
        if odd:
            raise ValueError(f"{', '.join(map(repr, odd))}: write `host`, `host:port` or `*.domain`")
        return allow
