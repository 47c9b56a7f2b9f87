"""`aats submit`: hands a plan to a running team."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from aats_core.cli.address import find_state_dir
from aats_core.cli.failure import FAILED
from aats_core.cli.follow import Follower
from aats_core.cli.options import HERE, Inputs, Json, PlanPath, TeamAddress
from aats_core.cli.output import print_json
from aats_core.cli.planfile import PlanFile, load_plan
from aats_core.cli.screen import Screen
from aats_core.cli.show import choose_display, print_outcome
from aats_core.door_client import connect
from aats_core.message import new_id
from aats_core.operations import PlanDetail
from aats_core.task import PlanRecord, PlanState


def submit(
    plan: PlanPath,
    /,
    *,
    wait: Annotated[
        bool, Parameter(negative="", show_default=False, help="Show its progress and wait for its end.")
    ] = False,
    input: Inputs = None,
    json: Json = False,
    address: TeamAddress = HERE,
) -> int:
    """Hand a plan to a running team; when this returns, the plan is stored and will be carried out.

    With --wait the exit code is 0 if all was done and 1 if something failed. Ctrl-C then ends the waiting only.
    """
    file = load_plan(plan, inputs=input or ())
    if not wait:
        record = asyncio.run(_submit(file, address))
        if json:
            print_json(record)
        else:
            print(record.id)
        return 0
    with Screen(choose_display(as_json=json)) as screen:
        detail = asyncio.run(_submit_and_wait(file, address, screen))
    code = 0 if detail.plan.state is PlanState.DONE else FAILED
    print_outcome([detail], code, as_json=json)
    return code


async def _submit(file: PlanFile, address: TeamAddress) -> PlanRecord:
    async with connect(find_state_dir(address)) as team:
        return await team.submit(file.plan, new_id())


async def _submit_and_wait(file: PlanFile, address: TeamAddress, screen: Screen) -> PlanDetail:
    async with connect(find_state_dir(address)) as team, asyncio.TaskGroup() as beside:
        follower = Follower(team, screen)
        watching = beside.create_task(follower.watch())
        record = await team.submit(file.plan, new_id())
        [detail] = await follower.follow([record])
        watching.cancel()
        return detail
