"""`aats plans`: what was submitted, and what has become of it."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from aats_core.cli.address import ask
from aats_core.cli.options import HERE, Json, Limit, TeamAddress
from aats_core.cli.output import print_json, print_table
from aats_core.cli.words import local_time, progress, took
from aats_core.task import PlanState, TaskState


def plans(
    *,
    state: Annotated[PlanState | None, Parameter(help="Only plans in that state.")] = None,
    limit: Limit = 100,
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """List the plans of a running team, newest first."""
    found = ask(address, lambda team: team.plans(state, limit))
    if json:
        print_json(found)
        return
    now = time.time()
    rows = [
        (
            plan.id,
            plan.state,
            progress(plan),
            plan.counts.get(TaskState.FAILED, 0) + plan.counts.get(TaskState.UNKNOWN, 0) or "",
            local_time(plan.submitted),
            took(plan.submitted, plan.ended, now=now),
            local_time(plan.deadline),
        )
        for plan in found
    ]
    print_table(("PLAN", "STATE", "TASKS", "FAILED", "SUBMITTED", "TOOK", "DEADLINE"), rows)
