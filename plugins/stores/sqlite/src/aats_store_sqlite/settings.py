"""The section of a SQLite store in the team file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from aats_core.settings import Seconds, StoreSettings


class SqliteSettings(StoreSettings):
    """Settings of the SQLite store."""

    path: Annotated[
        Path | None,
        Field(
            description="The database file, on a local disk; relative to the team's state directory, in which it is "
            "`store.db` by default.",
            examples=["/var/lib/aats/store.db"],
        ),
    ] = None
    readers: Annotated[int, Field(ge=1, le=64, description="Threads that answer reads.", examples=[2])] = 2
    transaction_timeout: Annotated[
        Seconds,
        Field(
            gt=0,
            description="Seconds that a transaction may wait for its own next step before it is rolled back; other "
            "writers wait for it meanwhile.",
            examples=["30s"],
        ),
    ] = 30.0
    expiry_interval: Annotated[
        Seconds, Field(gt=0, description="Seconds between two sweeps that delete what has expired.", examples=["5m"])
    ] = 60.0
