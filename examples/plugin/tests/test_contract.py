"""What every agent has to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aats_core.testing.agents import AgentContract
from aats_core.testing.fakes import give_context

from acme_registry import Registry, RegistrySettings


class TestRegistry(AgentContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path
        (tmp_path / "acme-1.0.whl").write_bytes(b"content")

    def make_agent(self) -> Registry:
        agent = Registry()
        give_context(agent, RegistrySettings(root=self.path / "registry"))
        return agent

    def sample_payloads(self) -> dict[str, Any]:
        return {"registry.upload": {"file": str(self.path / "acme-1.0.whl")}}
