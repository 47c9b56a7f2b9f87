"""The section `[broker]` of a team file that uses Redis."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, SecretStr

from aats_core.addresses import parse_url
from aats_core.settings import BrokerSettings
from aats_core.tls import TlsSettings

_EXAMPLE = "redis://host:6379/0, or rediss:// for TLS"


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
    parts = parse_url(url, _EXAMPLE, "redis", "rediss", path=True)
    database = parts.path.strip("/") or "0"
    if not database.isdecimal():
        raise ValueError(f"its path has to be the number of a database; an address looks like {_EXAMPLE}")
    return Address(parts.hostname or "", parts.port or 6379, int(database), parts.scheme == "rediss")


def _check(url: str) -> str:
    parse_address(url)
    return url


class RedisSettings(BrokerSettings):
    """What can be set on the Redis broker: where the servers are, and how to prove who is asking."""

    servers: Annotated[
        list[Annotated[str, AfterValidator(_check)]],
        Field(
            default_factory=lambda: ["redis://127.0.0.1:6379/0"],
            min_length=1,
            description="URLs of a server and those that may take its place, or of some nodes of a cluster.",
            examples=[["redis://redis-1.internal:6379/0", "redis://redis-2.internal:6379/0"]],
        ),
    ]
    replicas: Annotated[
        int,
        Field(
            ge=1,
            description="Servers that have a message before it is confirmed: 2 are the primary and one replica of it.",
            examples=[2],
        ),
    ] = 1
    user: Annotated[str, Field(description="Name of the user, where there are several.", examples=["aats"])] = ""
    password: Annotated[SecretStr, Field(description="Password of the user.", examples=[{"env": "REDIS_PASSWORD"}])] = (
        SecretStr("")
    )
    tls: Annotated[TlsSettings, Field(description="How servers with a `rediss://` URL are spoken to.")] = TlsSettings()
    max_message_bytes: Annotated[
        int, Field(ge=1, description="Largest message that is accepted, encoded.", examples=[1_048_576])
    ] = 16 * 1024 * 1024
