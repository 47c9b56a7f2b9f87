"""The contract of agents, held by the project manager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from aats_agent_project_manager import ProjectManager

from aats_core.agent import Agent
from aats_core.clock import RealClock
from aats_core.hooks import Hooks
from aats_core.kinds import TaskKinds
from aats_core.settings import TeamInfo
from aats_core.store import Document, RecordStore, Schema, UpdateResult, Write
from aats_core.testing.agents import AgentContract


class EmptyRecords:
    """A store in which there are no plans yet."""

    async def ensure(self, collection: str, schema: Schema) -> None:
        pass

    async def find(self, collection: str, *_: Any, **__: Any) -> list[Document]:
        return []

    async def write(self, operations: Sequence[Write]) -> None:
        pass

    async def update(self, *_: Any) -> UpdateResult:
        return UpdateResult(1, 1)


class TestProjectManager(AgentContract):
    def make_agent(self) -> Agent:
        records = cast("RecordStore", EmptyRecords())
        return ProjectManager(records, TaskKinds(), RealClock(), TeamInfo(), Hooks())
