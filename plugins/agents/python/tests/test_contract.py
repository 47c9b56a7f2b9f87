from __future__ import annotations

from typing import Any

from aats_agent_python import Python

from aats_core.agent import Agent
from aats_core.testing.agents import AgentContract


class TestContract(AgentContract):
    head_start = 0.5

    def make_agent(self) -> Agent:
        return Python()

    def sample_payloads(self) -> dict[str, Any]:
        return {"python.call": {"function": "textwrap:dedent", "args": ["  text"]}}

    def slow_payloads(self) -> dict[str, Any]:
        return {"python.call": {"function": "time:sleep", "args": [1000]}}
