"""A plan whose tasks live in Neo4j: killed with -9 in the middle, the same command again carries it to its end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from neo4j import GraphDatabase

from tests.services.neo4j import PASSWORD, USER
from tests.stored_runs import PATIENCE, REPLICAS, TASKS, Run, StoredRuns


class TestRuns(StoredRuns):
    @pytest.fixture(autouse=True)
    def _section(self, own_server: Any) -> None:
        self.section = f'plugin = "neo4j"\nuri = "{own_server.url}"\npassword = "{PASSWORD}"\ntimeout = "60s"'

    def states(self, server: Any, namespace: str) -> set[str]:
        with GraphDatabase.driver(server.url, auth=(USER, PASSWORD)) as driver:
            found = driver.execute_query(f"MATCH (d:`{namespace}.tasks`) RETURN d.`aats:body` AS task")
        return {msgspec.json.decode(record["task"])["state"] for record in found.records}

    def test_a_run_outlives_a_restart_of_the_server(self, plan: Run, own_server: Any) -> None:
        """It may be longer away than the command waits for an answer; the same command again goes on then."""
        process = plan.start()
        plan.until(process, 8)
        own_server.kill()
        own_server.start()
        output, _ = process.communicate(timeout=PATIENCE)
        if process.returncode:
            assert "did not answer" in output, output[-2000:]
            plan.finish(plan.start())

        ran = Counter(plan.lines())
        assert set(ran) == {f"t{number}" for number in range(TASKS)}
        assert sum(ran.values()) <= TASKS + REPLICAS, "tasks ran again that had ended"
