"""What can be set of the project manager."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aats_core.settings import AgentSettings, Seconds


class ProjectManagerSettings(AgentSettings):
    """The section `[agents.project-manager]`."""

    mailbox: Annotated[int, Field(ge=1, description="Messages that may wait for it before senders do.")] = 10_000
    replicas: Annotated[int, Field(ge=1, le=1, description="Always 1: the state of tasks is kept in one place.")] = 1
    retry_delay: Annotated[
        Seconds,
        Field(
            gt=0, description="Seconds between attempts to write to a store that cannot be written.", examples=["5s"]
        ),
    ] = 1.0
