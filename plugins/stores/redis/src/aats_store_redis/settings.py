"""The section of a Redis store in the team file."""

from __future__ import annotations

from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from aats_core.settings import Seconds, StoreSettings
from aats_core.tls import TlsSettings


class Address(NamedTuple):
    """Where a server listens, and which of its databases is meant."""

    host: str
    port: int
    database: int = 0
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Return the address of a URL; raises `ValueError` where it is not `redis[s]://host[:port][/database]`."""
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not (database or "0").isdigit():
        raise ValueError("a server is named by a URL like redis://host:6379/0, or rediss:// for TLS")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"user and password of {parts.hostname} belong into `user` and `password`")
    return Address(parts.hostname, parts.port or 6379, int(database or 0), parts.scheme == "rediss")


def _check(urls: list[str]) -> list[str]:
    for url in urls:
        parse_address(url)
    return urls


class RedisSettings(StoreSettings):
    """Settings of the Redis store."""

    servers: Annotated[
        list[str],
        AfterValidator(_check),
        Field(
            default_factory=lambda: ["redis://127.0.0.1:6379/0"],
            min_length=1,
            description="URLs of a server and those that may take its place, or of some nodes of a cluster.",
            examples=[["redis://redis-1.internal:6379/0", "redis://redis-2.internal:6379/0"]],
        ),
    ]
    user: Annotated[str, Field(description="Name of the user, where there are several.", examples=["aats"])] = ""
    password: Annotated[SecretStr, Field(description="Password of the user.", examples=[{"env": "REDIS_PASSWORD"}])] = (
        SecretStr("")
    )
    tls: Annotated[TlsSettings, Field(description="How servers with a `rediss://` URL are spoken to.")] = TlsSettings()
    pool: Annotated[
        int,
        Field(ge=1, le=100, description="Connections to each server, each carrying a batch at a time.", examples=[4]),
    ] = 2
    slow: Annotated[
        Seconds, Field(gt=0, description="What takes longer is logged, with how it was found.", examples=["100ms"])
    ] = 0.5
    max_document_bytes: Annotated[
        int, Field(ge=1, le=512 * 1024 * 1024, description="Largest document or value, encoded.", examples=[1_048_576])
    ] = 16 * 1024 * 1024
    expiry_interval: Annotated[
        Seconds, Field(gt=0, description="Seconds between two sweeps that delete expired documents.", examples=[60.0])
    ] = 60.0
