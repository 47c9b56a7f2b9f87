from __future__ import annotations

from typing import Any

from aats_agent_shell import Shell

from aats_core.agent import Agent
from aats_core.testing.agents import AgentContract
from aats_core.testing.fakes import give_context


class TestContract(AgentContract):
    def make_agent(self) -> Agent:
        agent = Shell()
        give_context(agent, Shell.Settings(grace=0.5))
        return agent

    def sample_payloads(self) -> dict[str, Any]:
        return {"shell.run": {"command": ["echo", "hello"]}}

    def slow_payloads(self) -> dict[str, Any]:
        return {"shell.run": {"command": "trap '' TERM; sleep 1000 & wait; sleep 1000"}}
