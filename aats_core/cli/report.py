"""`aats report`: what became of a plan, as a page for people or as JSON for programs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aats_core.cli.address import ask
from aats_core.cli.failure import UsageError
from aats_core.cli.options import HERE, Json, TeamAddress
from aats_core.cli.output import print_json
from aats_core.errors import TeamUnavailable
from aats_core.operations import PlanDetail
from aats_core.report import outcome, summarise, write_report
from aats_core.report.markup import clean

_TEAM_FILE = Path("team.toml")


def report(
    plan: Annotated[str, Parameter(help="A plan's id, or a name for the newest of that name.")],
    /,
    *,
    html: Annotated[Path | None, Parameter(help="Write the report to this file, one page that needs no other.")] = None,
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """Report on a plan: what ran when and where, what took longest, what failed, and what did not run and why.

    Where the team does not run, the plan is read from its store; for that the team file has to be known.
    """
    if html is None and not json:
        raise UsageError("say what to write: --html FILE, --json or both")
    detail = _find(plan, address)
    found = summarise(detail, now=time.time())
    if html is not None:
        try:
            write_report(detail, html)
        except OSError as error:
            raise UsageError(f"--html {html}: it cannot be written: {error.strerror or error}") from error
    if json:
        print_json(found)
    else:
        print(clean(f"{detail.plan.name}: {outcome(found)}\n{html}"))


def _find(plan: str, address: TeamAddress) -> PlanDetail:
    """Ask the running team, or where none runs its store."""
    try:
        return ask(address, lambda team: team.plan(plan))
    except TeamUnavailable as error:
        file = address.team or (_TEAM_FILE if address == HERE and _TEAM_FILE.is_file() else None)
        if file is None:
            raise TeamUnavailable(f"{error}; to read its store, name its team file with --team") from error
    from aats_core.stored_plans import read_stored_plan
    from aats_core.team_file import load_team_file

    return asyncio.run(read_stored_plan(load_team_file(file), plan))
