"""`aats run`: a team in this process, until its plans are done or until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aats_core.cli.failure import UsageError
from aats_core.cli.options import Inputs, Json, Overrides, TeamFilePath


def run(
    file: TeamFilePath,
    /,
    *,
    plan: Annotated[
        list[Path] | None,
        Parameter(negative="", help="Carry out this plan, then stop; may be repeated. Without any the team serves."),
    ] = None,
    input: Inputs = None,
    set: Overrides = None,
    again: Annotated[
        bool, Parameter(negative="", show_default=False, help="Do not go on with an interrupted run: cancel it.")
    ] = False,
    json: Json = False,
) -> int:
    """Run a team in this process.

    With --plan: until these plans are done. A run that was interrupted goes on where it was when the same command is
    given again; after one that ended a new one begins. Without: until it is stopped. Ctrl-C drains, a second one stops
    at once.

    The exit code is 0 if all was done, 1 if something failed, 2 if the team file or a plan is wrong, 3 if the team
    could not start, and 130 or 143 if a signal ended it before its plans were done.
    """
    if json and not plan:
        raise UsageError("--json shows what becomes of plans; it needs --plan")
    from aats_core.cli.running import Request, carry_out

    request = Request(file, tuple(plan or ()), tuple(set or ()), tuple(input or ()), again=again, json=json)
    return carry_out(request)
