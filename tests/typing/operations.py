"""How the public API looks to a type checker where a team is run or spoken to."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from aats_core.broker import DeadLetter, TopicStatus
from aats_core.door_client import connect
from aats_core.operations import Operations, TaskDetail, TaskEvent
from aats_core.task import Plan, PlanRecord, Task
from aats_core.team import Team
from aats_core.team_file import load_team_file


async def speak(state_dir: Path) -> None:
    """Ask a running team."""
    async with connect(state_dir) as team:
        assert_type(team, Operations)
        record = await team.submit(Plan("p", (Task("t", "shell.run"),)))
        assert_type(record, PlanRecord)
        assert_type(await team.task("p/t"), TaskDetail)
        assert_type(await team.topics(), list[TopicStatus])
        assert_type(await team.dead_letters(), list[DeadLetter])
        async for event in team.watch(record.id):
            assert_type(event, TaskEvent)


async def run(path: Path) -> None:
    """Run a team within a program of one's own."""
    async with Team(load_team_file(path)) as team:
        assert_type(team.operations, Operations)
        team.request_stop()
        await team.wait_stopped()
