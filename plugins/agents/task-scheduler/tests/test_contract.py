"""The contract of agents, held by the task scheduler."""

from __future__ import annotations

import pytest
from aats_agent_task_scheduler import TaskScheduler
from aats_agent_task_scheduler.settings import SchedulerSettings

from aats_core.agent import Agent
from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from aats_core.store import RecordStore
from aats_core.testing.agents import AgentContract


class TestTaskScheduler(AgentContract):
    @pytest.fixture(autouse=True)
    def _store(self, records: RecordStore) -> None:
        self.records = records

    def make_agent(self) -> Agent:
        return TaskScheduler(SchedulerSettings(), TeamInfo(), RealClock(), self.records)
