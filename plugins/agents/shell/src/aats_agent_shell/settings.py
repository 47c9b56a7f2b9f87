"""What a team file may say about an agent that runs commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from aats_core.settings import AgentSettings, Seconds


class ShellSettings(AgentSettings):
    """The section of an agent that runs commands."""

    shell: Annotated[
        str, Field(description="The program that runs shell lines, with `-c`.", examples=["/bin/bash"])
    ] = "/bin/sh"
    cwd: Annotated[
        Path | None,
        Field(
            description="Where commands run, and from where a task's relative `cwd` counts; "
            "by default where the team was started.",
            examples=["/srv/build"],
        ),
    ] = None
    env: Annotated[
        dict[str, SecretStr],
        Field(
            default_factory=dict,
            description="Environment variables that every command gets.",
            examples=[{"CI": "true", "TOKEN": {"env": "REGISTRY_TOKEN"}}],
        ),
    ]
    allow: Annotated[
        list[str] | None,
        Field(
            description="The only programs that may be run: names, looked up in the agent's own PATH, "
            "or absolute paths. Shell lines are refused then.",
            examples=[["git", "make", "/opt/tools/bin/deploy"]],
        ),
    ] = None
    max_output: Annotated[
        int,
        Field(
            ge=1024,
            description="Bytes kept of each of a command's outputs, half of them from its begin and half from its end.",
            examples=[65536],
        ),
    ] = 1024 * 1024
    timeout: Annotated[
        Seconds | None,
        Field(gt=0, description="Seconds that a command may take where its task does not say.", examples=["10m"]),
    ] = None
    grace: Annotated[
        Seconds, Field(ge=0, description="Seconds between SIGTERM and SIGKILL for what has to end.", examples=["10s"])
    ] = 5.0

    @property
    def ending(self) -> float:
        """Seconds that a command may go on after SIGTERM."""
        return self.grace

    @field_validator("allow")
    @classmethod
    def _names_or_absolute(cls, allow: list[str] | None) -> list[str] | None:
        odd = [entry for entry in allow or () if not entry or ("/" in entry and not entry.startswith("/"))]
        if odd:
            raise ValueError(f"{', '.join(map(repr, odd))}: write a program's name or its absolute path")
        return allow
