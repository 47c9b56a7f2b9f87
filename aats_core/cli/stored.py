"""Plans asked for where no team may be running: of the team if one runs, else read from its store."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aats_core.cli.address import ask
from aats_core.cli.options import HERE, TeamAddress
from aats_core.errors import TeamUnavailable
from aats_core.operations import PlanDetail

_TEAM_FILE = Path("team.toml")


def find_plan(plan: str, address: TeamAddress) -> PlanDetail:
    """Return a plan with its tasks; raises `TeamUnavailable` where no team runs and its team file is not known."""
    try:
        return ask(address, lambda team: team.plan(plan))
    except TeamUnavailable as error:
        file = address.team or (_TEAM_FILE if address == HERE and _TEAM_FILE.is_file() else None)
        if file is None:
            raise TeamUnavailable(f"{error}; to read its store, name its team file with --team") from error
    from aats_core.stored_plans import read_stored_plan
    from aats_core.team_file import load_team_file

    return asyncio.run(read_stored_plan(load_team_file(file), plan))
