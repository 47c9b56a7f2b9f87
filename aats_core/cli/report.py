"""`aats report`: what became of a plan, as a page for people or as JSON for programs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aats_core.cli.failure import UsageError
from aats_core.cli.options import HERE, Json, TeamAddress
from aats_core.cli.output import print_json
from aats_core.cli.stored import find_plan
from aats_core.report import outcome, summarise, write_report
from aats_core.report.markup import clean


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
    detail = find_plan(plan, address)
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
