"""What a team file may say about an agent that calls Python functions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from aats_core.settings import AgentSettings, Seconds


class PythonSettings(AgentSettings):
    """The section of an agent that calls Python functions, in so many processes as it has replicas."""

    path: Annotated[
        list[Path],
        Field(
            default_factory=list,
            description="Directories in which modules are looked for first; relative to where the team was started.",
            examples=[["jobs"]],
        ),
    ]
    allow: Annotated[
        list[str] | None,
        Field(
            description="The only modules whose functions may be called, and the modules within them.",
            examples=[["acme.jobs"]],
        ),
    ] = None
    timeout: Annotated[
        Seconds | None,
        Field(gt=0, description="Seconds that a call may take where its task does not say.", examples=["10m"]),
    ] = None
    max_result: Annotated[
        int, Field(ge=1024, description="Bytes that a result may have as JSON.", examples=[65536])
    ] = 16 * 1024 * 1024
