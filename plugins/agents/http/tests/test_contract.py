from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aats_agent_http import Http
from aiohttp import web

from aats_core.agent import Agent
from aats_core.testing.agents import AgentContract


async def _never(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


class TestContract(AgentContract):
    @pytest.fixture(autouse=True)
    def _serve(self, server: Any) -> None:
        server.answer("/hello", '{"hello": "world"}', content_type="application/json")
        server.answers["/never"] = _never
        self.url = server.url

    def make_agent(self) -> Agent:
        return Http()

    def sample_payloads(self) -> dict[str, Any]:
        return {"http.request": {"url": f"{self.url}/hello"}}

    def slow_payloads(self) -> dict[str, Any]:
        return {"http.request": {"url": f"{self.url}/never", "method": "POST"}}
