"""The section `[broker]` of a team file that uses NATS JetStream."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import nkeys
from pydantic import AfterValidator, Field, SecretStr

from aats_core.addresses import server_url
from aats_core.settings import BrokerSettings, ReadableFile, Seconds
from aats_core.tls import TlsSettings

_CREDENTIALS = re.compile(rb"BEGIN NATS USER JWT-*\s+[^\s-].*BEGIN USER NKEY SEED-*\s+([A-Z2-7]+)\s", re.DOTALL)


def check_credentials(path: Path) -> Path:
    """Return the path of a file with a user's JWT and seed; raises `ValueError` where it is none.

    The driver would look for a missing JWT for ever, and block its event loop meanwhile.
    """
    found = _CREDENTIALS.search(path.read_bytes())
    try:
        nkeys.from_seed(bytearray(found[1] if found else b"")).wipe()
    except (nkeys.NkeysError, ValueError):
        raise ValueError(
            f"{path} does not hold the JWT and the seed of a user; `nsc generate creds` writes such a file"
        ) from None
    return path


class NatsSettings(BrokerSettings):
    """Where the servers are, and how the streams are kept."""

    servers: Annotated[
        list[Annotated[str, server_url("nats://host:4222, or tls://host:4222", "nats", "tls")]],
        Field(
            min_length=1, description="Addresses of the servers; any that lives is used.", examples=[["nats://n1:4222"]]
        ),
    ] = ["nats://127.0.0.1:4222"]  # noqa: RUF012 - pydantic copies a default
    user: Annotated[str, Field(description="User name.", examples=["team"])] = ""
    password: Annotated[
        SecretStr | None, Field(description="Password of the user.", examples=['{ env = "NATS_PASSWORD" }'])
    ] = None
    token: Annotated[
        SecretStr | None,
        Field(description="Token, in place of user and password.", examples=['{ env = "NATS_TOKEN" }']),
    ] = None
    credentials: Annotated[
        Annotated[ReadableFile, AfterValidator(check_credentials)] | None,
        Field(description="File with a user's JWT and seed (`.creds`).", examples=["/etc/nats/team.creds"]),
    ] = None
    tls: Annotated[TlsSettings | None, Field(description="Encrypts the connection where it is given.")] = None
    stream: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_]+$",
            max_length=64,
            description="Name of the stream, and beginning of all names and subjects.",
            examples=["release"],
        ),
    ] = "aats"
    replicas: Annotated[
        int, Field(ge=1, le=5, description="Servers of a cluster that keep each message.", examples=[3])
    ] = 1
    retention: Annotated[
        Literal["interest", "workqueue", "limits"],
        Field(
            description="When the stream drops a message: once every group has it (`interest`), once the only group of"
            " its topic has it (`workqueue`), or after `max_age` (`limits`).",
            examples=["limits"],
        ),
    ] = "interest"
    max_age: Annotated[
        Seconds,
        Field(
            ge=0, description="Seconds after which a message is dropped, handled or not; 0 never.", examples=[604_800]
        ),
    ] = 0.0
    read_ahead: Annotated[
        int,
        Field(
            ge=1,
            description="Waiting messages of a group in memory, among which the most urgent is next.",
            examples=[2000],
        ),
    ] = 500
    failover: Annotated[
        Seconds,
        Field(
            ge=0.5,
            description="Seconds without a sign of life after which another client hands out a group's messages.",
        ),
    ] = 5.0
    durability: Annotated[
        Literal["warn", "accept"],
        Field(
            description="`warn`: health tells where a confirmed message may not be on disk yet; `accept`: it is known."
        ),
    ] = "warn"
    monitoring: Annotated[
        Annotated[str, server_url("http://host:8222", "http", "https")] | None,
        Field(
            description="Address of a server's monitoring, where health looks up whether it syncs every write.",
            examples=["http://127.0.0.1:8222"],
        ),
    ] = None
