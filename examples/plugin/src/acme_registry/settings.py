"""The settings of the registry: its section of the team file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from aats_core import AgentSettings
from pydantic import Field


class RegistrySettings(AgentSettings):
    """What every agent's section may hold, and where the registry lies and what it takes."""

    root: Annotated[Path, Field(description="The folder that is the registry.", examples=["/srv/registry"])] = Path(
        "registry"
    )
    max_bytes: Annotated[int, Field(gt=0, description="The largest file that is taken.", examples=[10_000_000])] = (
        100_000_000
    )
