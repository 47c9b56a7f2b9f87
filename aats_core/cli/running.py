"""A team run by `aats run`: started, its plans carried out, stopped, and their outcome told."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from aats_core.agent import TaskContext
from aats_core.cli import loop
from aats_core.cli.failure import FAILED, UsageError
from aats_core.cli.follow import Follower
from aats_core.cli.openruns import OpenRuns
from aats_core.cli.planfile import PlanFile, load_plan
from aats_core.cli.screen import Screen
from aats_core.cli.show import choose_display, print_outcome
from aats_core.cli.stopping import Stopping
from aats_core.door import unix_subject
from aats_core.errors import AatsError, InvalidRequest, Refused
from aats_core.handlers import collect
from aats_core.log import Logging
from aats_core.operations import Operations, PlanDetail
from aats_core.policy import acting_for
from aats_core.secrets import redact
from aats_core.task import PlanRecord, PlanState
from aats_core.team import Team
from aats_core.team_file import TeamFile, load_team_file
from aats_core.tuning import tune_process

_ALL = 100_000


class CannotStart(AatsError):
    """The team could not start."""


class Request(msgspec.Struct, frozen=True):
    """What is to be run: a team file and plans, what the command line sets in both, and how it is shown."""

    file: Path
    plans: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    again: bool = False
    json: bool = False


def carry_out(request: Request) -> int:
    """Run a team until its plans are done, or until it is stopped where there are none; returns the exit code."""
    team_file = load_team_file(request.file, overrides=request.overrides)
    plans = _load_plans(request, team_file)
    level = logging.getLevelNamesMapping()[team_file.team.log_level.upper()]
    shown = max(level, logging.WARNING) if plans else level
    with Logging(level=level, console_level=shown, redact=redact) as logs:
        run = _Run(team_file, plans, logs, again=request.again)
        with Screen(choose_display(as_json=request.json)) as screen:
            tune_process()
            loop.run(run.run(screen))
    return run.finish(as_json=request.json)


def _load_plans(request: Request, team_file: TeamFile) -> list[PlanFile]:
    kinds = {
        name
        for section in team_file.agents.values()
        for kind, name in collect(section.cls, TaskContext)
        if kind == "task"
    }
    plans = [load_plan(path, inputs=request.inputs, kinds=kinds) for path in request.plans]
    twice = {plan.path for plan in plans if sum(plan.fingerprint == other.fingerprint for other in plans) > 1}
    if twice:
        raise UsageError(f"--plan {twice.pop()} is given twice")
    return plans


class _Run:
    """One run of a team, with what came of its plans."""

    def __init__(self, team_file: TeamFile, plans: Sequence[PlanFile], logs: Logging, *, again: bool) -> None:
        self._file = team_file
        self._plans = plans
        self._logs = logs
        self._again = again
        self._open = OpenRuns(team_file.state_dir)
        self._details: list[PlanDetail] = []
        self._signal = 0
        self._told: list[PlanFile] = []
        atexit.register(self._close)

    async def run(self, screen: Screen) -> None:
        """Start the team, carry out the plans or serve, and stop the team."""
        team = Team(self._file, every_agent=bool(self._plans))
        async with Stopping(team, screen, grace=self._file.team.grace) as stopping, asyncio.TaskGroup() as beside:
            async with AsyncExitStack() as started:
                try:
                    await started.enter_async_context(team)
                except AatsError as error:
                    raise CannotStart(f"the team could not start: {error}") from error
                stopping.started = True
                self._logs.write_to(self._file.state_dir)
                follower = Follower(team.operations, screen, lease=self._file.team.lease)
                if self._plans:
                    with acting_for(unix_subject(os.getuid())):
                        watching = beside.create_task(follower.watch())
                        giving_up = beside.create_task(_give_up(team, follower))
                        self._details = await self._carry_out(team.operations, follower, screen)
                else:
                    await team.wait_stopped()
            if self._plans:
                giving_up.cancel()
                watching.cancel()
                self._details = [follower.latest(detail) for detail in self._details]
        self._signal = stopping.signal

    async def _carry_out(self, team: Operations, follower: Follower, screen: Screen) -> list[PlanDetail]:
        records = [await self._submit(team, file, follower, screen) for file in self._plans]
        ours = {record.id for record in records}
        others = [record.id for record in await team.plans(PlanState.ACTIVE) if record.id not in ours]
        if others:
            screen.note(f"from earlier on there also go on: {', '.join(others)}")
        return await follower.follow(records)

    async def _submit(self, team: Operations, file: PlanFile, follower: Follower, screen: Screen) -> PlanRecord:
        """Return the plan of the run that is still open, or of one that is opened now."""
        key = self._open.find(file)
        known = [record for record in await team.plans(limit=_ALL) if record.key == key] if key else []
        if known and not self._again:
            screen.note(f"{file.path}: going on with {known[0].id}")
            return known[0]
        if known and known[0].state is PlanState.ACTIVE:
            await team.cancel(known[0].id, "its run was begun again")
            await follower.until_ended([known[0].id])
        if key is None or known:
            key = self._open.begin(file)
        try:
            return await team.submit(file.plan, key)
        except (Refused, InvalidRequest):
            self._open.end(file)
            raise

    def finish(self, *, as_json: bool) -> int:
        """Tell what came of the plans, close their runs, and return the exit code."""
        states = [detail.plan.state for detail in self._details]
        if self._signal and (PlanState.ACTIVE in states or len(states) < len(self._plans)):
            code = 128 + self._signal
        else:
            code = 0 if all(state is PlanState.DONE for state in states) else FAILED
        if self._plans:
            print_outcome(self._details, code, as_json=as_json)
        pairs = zip(self._plans, states, strict=False)
        self._told = [file for file, state in pairs if state is not PlanState.ACTIVE]
        return code

    def _close(self) -> None:
        """Close the runs whose outcome was told; the last thing this process does, so that none is told to nobody."""
        for file in self._told:
            self._open.end(file)


async def _give_up(team: Team, follower: Follower) -> None:
    await team.wait_stopped()
    follower.give_up()
