"""A plan whose tasks live in Redis: killed with -9 in the middle, the same command again carries it to its end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from redis import Redis

from tests.stored_runs import StoredRuns


class TestRuns(StoredRuns):
    @pytest.fixture(autouse=True)
    def _section(self, own_server: Any) -> None:
        self.section = f'plugin = "redis"\nservers = ["{own_server.url}"]'

    def states(self, server: Any, namespace: str) -> set[str]:
        with Redis.from_url(server.url) as client:
            tasks = client.hvals(f"aats:{{{namespace}}}:d:tasks")
        return {msgspec.json.decode(task)["state"] for task in tasks}
