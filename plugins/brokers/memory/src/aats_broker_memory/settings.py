"""The section `[broker]` of a team file that uses the memory broker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aats_core.settings import BrokerSettings


class MemorySettings(BrokerSettings):
    """What can be set on the memory broker: the bounds of what it keeps."""

    capacity: Annotated[
        int,
        Field(ge=1, description="Unsettled messages that one group may hold before publishers wait.", examples=[500]),
    ] = 10_000
    max_message_bytes: Annotated[
        int, Field(ge=1, description="Largest message that is accepted, encoded.", examples=[1_048_576])
    ] = 128 * 1024 * 1024
    max_dead_letters: Annotated[
        int, Field(ge=1, description="Dead letters that are kept; beyond it the oldest is dropped.", examples=[500])
    ] = 10_000
