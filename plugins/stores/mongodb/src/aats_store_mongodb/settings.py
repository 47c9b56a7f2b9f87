"""The section of a MongoDB store in the team file."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr

from aats_core.settings import StoreSettings


class DriverName(StrEnum):
    """Which library talks to the server."""

    PYMONGO = "pymongo"
    MOTOR = "motor"


class MongoSettings(StoreSettings):
    """Settings of the MongoDB store."""

    url: Annotated[
        SecretStr,
        Field(
            description="The address of the servers, with what the driver has to know of them.",
            examples=["mongodb://mongo-1.internal,mongo-2.internal/?replicaSet=rs0&tls=true"],
        ),
    ] = SecretStr("mongodb://localhost:27017/")
    username: Annotated[str, Field(description="Who logs in, where the address does not say.", examples=["aats"])] = ""
    password: Annotated[
        SecretStr | None,
        Field(description="The password of `username`.", examples=[{"env": "MONGODB_PASSWORD"}]),
    ] = None
    database: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_-]{1,38}$", description="The database that holds everything.", examples=["aats"]),
    ] = "aats"
    driver: Annotated[
        DriverName,
        Field(
            description="`pymongo`, or `motor`, which has to be installed beside it and gets no new features any more.",
            examples=["motor"],
        ),
    ] = DriverName.PYMONGO
    pool_size: Annotated[
        int, Field(ge=1, le=1000, description="Connections to each server at most.", examples=[50])
    ] = 50
