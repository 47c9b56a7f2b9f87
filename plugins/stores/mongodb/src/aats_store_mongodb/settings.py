"""The section of a MongoDB store in the team file."""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri, split_options

from aats_core.settings import Seconds, StoreSettings
from aats_core.tls import TlsSettings


class DriverName(StrEnum):
    """Which library talks to the server."""

    PYMONGO = "pymongo"
    MOTOR = "motor"


_PLAIN, _LOOKED_UP = "mongodb://", "mongodb+srv://"
_LOOKS_LIKE = (
    "an address looks like mongodb://host:27017/?replicaSet=rs0, and within it / ? # % : @ of a user and a password "
    "are written %2F %3F %23 %25 %3A %40"
)


def _parsed(url: SecretStr) -> SecretStr:
    """Refuse what the driver cannot parse or only warns of, telling nothing of the address but its options."""
    text = url.get_secret_value()
    options = text.partition("?")[2]
    if not text.startswith((_PLAIN, _LOOKED_UP)):
        raise ValueError(f"it has to begin with {_PLAIN} or {_LOOKED_UP}; {_LOOKS_LIKE}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            if options and "@" not in options:
                split_options(options, warn=False)
        except (PyMongoError, UserWarning, ValueError, TypeError) as error:
            raise ValueError(str(error).partition(" or maybe")[0]) from None
        try:
            if text.startswith(_PLAIN):  # the driver asks a name server for the rest of the others
                parse_uri(text, warn=False)
        except (PyMongoError, UserWarning, ValueError, TypeError):
            raise ValueError(f"its hosts and port are not valid; {_LOOKS_LIKE}") from None
    return url


def _with_its_key(tls: TlsSettings | None) -> TlsSettings | None:
    if tls is not None and tls.key is not None:
        raise ValueError("MongoDB's driver wants a certificate and its key in one file: put both into `certificate`")
    return tls


class MongoSettings(StoreSettings):
    """Settings of the MongoDB store."""

    url: Annotated[
        SecretStr,
        AfterValidator(_parsed),
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
    tls: Annotated[
        TlsSettings | None,
        AfterValidator(_with_its_key),
        Field(
            description="TLS with files of its own; without this section `tls` and the like in `url` decide.",
            examples=[{"ca": "/etc/ssl/mongodb-ca.pem", "certificate": "/etc/ssl/aats.pem"}],
        ),
    ] = None
    slow: Annotated[
        Seconds,
        Field(gt=0, description="A command that takes longer is logged, with the plan it has.", examples=["500ms"]),
    ] = 1.0
    pool_size: Annotated[
        int, Field(ge=1, le=1000, description="Connections to each server at most.", examples=[50])
    ] = 50
