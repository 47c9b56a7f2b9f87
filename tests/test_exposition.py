"""The team's own figures as Prometheus metrics."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from aats_core.agent import Agent
from aats_core.errors import RequestFailed
from aats_core.exposition import RuntimeCollector
from aats_core.handlers import on
from aats_core.hooks import Hooks
from aats_core.runtime import Runtime


class Divider(Agent):
    """Divides."""

    @on("divide")
    async def divide(self, by: int) -> float:
        return 1 / by


def test_every_agent_has_its_figures() -> None:
    async def scrape() -> tuple[CollectorRegistry, str]:
        runtime = Runtime(hooks=Hooks())
        await runtime.add("divider", Divider).start()
        for by in (1, 2):
            await runtime.request("divider", "divide", by)
        with pytest.raises(RequestFailed):
            await runtime.request("divider", "divide", 0)
        await asyncio.sleep(0)
        registry = CollectorRegistry()
        registry.register(RuntimeCollector(runtime.hosts))
        text = generate_latest(registry).decode()
        await runtime.hosts["divider"].stop()
        return registry, text

    registry, text = asyncio.run(scrape())
    label = {"agent": "divider"}
    assert registry.get_sample_value("aats_messages_failed_total", label) == 1
    assert 'aats_handler_seconds_count{agent="divider"} 3.0' in text
    assert 'aats_handler_seconds_bucket{agent="divider",le="+Inf"} 3.0' in text
    assert 'aats_agent_up{agent="divider"} 1.0' in text
    assert 'aats_mailbox_waiting{agent="divider"} 0.0' in text
