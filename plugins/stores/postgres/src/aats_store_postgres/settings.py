"""The section of a PostgreSQL store in the team file."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from pydantic import AfterValidator, Field, SecretStr

from aats_core.addresses import parse_url
from aats_core.settings import Seconds, StoreSettings
from aats_core.tls import TlsSettings

_EXAMPLE = (
    "postgresql://host:5432/database?sslmode=require, and within it / ? # % : @ of a user and a password are written "
    "%2F %3F %23 %25 %3A %40"
)
_SCHEMES = ("postgresql", "postgres")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def _parsed(dsn: SecretStr) -> SecretStr:
    """Refuse what the driver cannot connect to, telling nothing of it: user and password may be anywhere in it."""
    scheme, _, rest = dsn.get_secret_value().partition("://")
    place, _, query = rest.partition("#")[0].partition("?")
    login, _, hosts = place.partition("/")[0].rpartition("@")
    if "@" in login:
        raise ValueError(f"one @ ends user and password; an address looks like {_EXAMPLE}")
    for host in hosts.split(",") if hosts else ("localhost",):
        parse_url(f"{scheme}://{host}", _EXAMPLE, *_SCHEMES)
    try:
        parameters = parse_qs(query, strict_parsing=True) if query else {}
    except ValueError:
        raise ValueError(f"its parameters are written name=value; an address looks like {_EXAMPLE}") from None
    if not set(parameters.get("sslmode", ())) <= set(_SSL_MODES):
        raise ValueError(f"its sslmode has to be one of {', '.join(_SSL_MODES)}")
    return dsn


Dsn = Annotated[SecretStr, AfterValidator(_parsed)]
"""Where a database is; one that cannot be meant is refused."""


class PostgresSettings(StoreSettings):
    """Settings of the PostgreSQL store."""

    dsn: Annotated[
        Dsn,
        Field(
            description="Where the database is, with user and password. Several hosts, of which the one that can be "
            "written is used, stand with commas between them; `sslmode` and the like as parameters.",
            examples=["postgresql://aats:secret@db1.internal,db2.internal/aats?sslmode=verify-full"],
        ),
    ] = SecretStr("postgresql://localhost/postgres")
    replicas: Annotated[
        tuple[Dsn, ...],
        Field(
            description="Servers that follow the one of `dsn`; agents that may read what is a little old are answered "
            "by them.",
            examples=[["postgresql://aats:secret@db2.internal/aats"]],
        ),
    ] = ()
    replica_lag: Annotated[
        Seconds,
        Field(
            gt=0, description="How old what a replica tells may be; one further behind is left out.", examples=["5s"]
        ),
    ] = 10.0
    db_schema: Annotated[
        str,
        Field(
            pattern=r"^[a-z_][a-z0-9_]{0,30}$",
            description="The schema of the database that holds all tables; made where it does not exist.",
            examples=["aats"],
        ),
    ] = "aats"
    tls: Annotated[
        TlsSettings | None,
        Field(
            description="TLS with files of its own; without this section `sslmode` in `dsn` decides.",
            examples=[{"ca": "/etc/ssl/postgres-ca.pem"}],
        ),
    ] = None
    pool: Annotated[int, Field(ge=2, le=500, description="Connections at most.", examples=[20])] = 10
    prepared: Annotated[
        int,
        Field(
            ge=0,
            description="Statements that each connection keeps prepared; 0 behind a pooler that shares sessions.",
            examples=[0],
        ),
    ] = 500
    slow: Annotated[
        Seconds,
        Field(gt=0, description="A statement that takes longer is logged, with the plan it has.", examples=["500ms"]),
    ] = 1.0
    transaction_timeout: Annotated[
        Seconds,
        Field(
            gt=0,
            description="Seconds that a transaction may wait for its own next step before it is rolled back.",
            examples=[30.0],
        ),
    ] = 30.0
    expiry_interval: Annotated[
        Seconds, Field(gt=0, description="Seconds between two sweeps that delete what has expired.", examples=[60.0])
    ] = 60.0
