"""The section of a Neo4j store in the team file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from aats_core.addresses import server_url
from aats_core.settings import Seconds, StoreSettings
from aats_core.tls import TlsSettings


class Neo4jSettings(StoreSettings):
    """Settings of the Neo4j store."""

    uri: Annotated[
        str,
        server_url(
            "neo4j://host:7687, or neo4j+s://host:7687 for TLS",
            *(f"{scheme}{tls}" for scheme in ("neo4j", "bolt") for tls in ("", "+s", "+ssc")),
        ),
        Field(
            description="Where the server is: `neo4j://` to be routed among the members of a cluster, `bolt://` for "
            "exactly that one; with `+s` over TLS that the system's authorities vouch for.",
            examples=["neo4j+s://graph.internal:7687"],
        ),
    ] = "bolt://localhost:7687"
    username: Annotated[str, Field(description="Who logs in.", examples=["aats"])] = "neo4j"
    password: Annotated[
        SecretStr | None,
        Field(description="The user's password; none where the server asks for none.", examples=[{"env": "NEO4J"}]),
    ] = None
    database: Annotated[
        str,
        Field(
            pattern=r"^[a-zA-Z][a-zA-Z0-9.-]{2,62}$",
            description="The database that holds everything.",
            examples=["neo4j"],
        ),
    ] = "neo4j"
    tls: Annotated[
        TlsSettings | None,
        Field(
            description="TLS with files of its own, for a `uri` without `+s`.",
            examples=[{"ca": "/etc/ssl/neo4j-ca.pem"}],
        ),
    ] = None
    pool: Annotated[int, Field(ge=2, le=500, description="Connections to each server at most.", examples=[50])] = 20
    apoc: Annotated[
        bool, Field(description="Whether the procedures of APOC are used where the server has them.", examples=[False])
    ] = True
    slow: Annotated[
        Seconds,
        Field(gt=0, description="A statement that takes longer is logged, with the plan it has.", examples=["500ms"]),
    ] = 1.0
    expiry_interval: Annotated[
        Seconds, Field(gt=0, description="Seconds between two sweeps that delete what has expired.", examples=[60.0])
    ] = 60.0
