"""The options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Json = Annotated[bool, Parameter("--json", negative="", show_default=False, help="Print JSON instead of text.")]

Overrides = Annotated[
    list[str] | None,
    Parameter("--set", negative="", help="Set a field of the team file: section.field=value; may be repeated."),
]

Inputs = Annotated[
    list[str] | None,
    Parameter("--input", negative="", help="Give an input of the plans a value: name=value; may be repeated."),
]

TeamFilePath = Annotated[Path, Parameter(help="The team file (TOML).")]

Limit = Annotated[int, Parameter("--limit", validator=Number(gte=1), help="List at most so many.")]

PlanPath = Annotated[Path, Parameter(help="The plan: YAML, JSON or TOML.")]


@Parameter("*")
@dataclass(frozen=True)
class TeamAddress:
    """Where the team is that is spoken to: without either option that of `./team.toml`, else the one in `.aats`."""

    team: Annotated[Path | None, Parameter(help="The team file of the running team.")] = None
    state_dir: Annotated[Path | None, Parameter(help="The state directory of the running team.")] = None


HERE = TeamAddress()
"""The team of the directory in which the command is given."""
