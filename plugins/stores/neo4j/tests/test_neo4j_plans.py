"""A plan whose tasks live in Neo4j: killed with -9 in the middle, the same command again carries it to its end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from neo4j import GraphDatabase

from tests.services.neo4j import PASSWORD, USER
from tests.stored_runs import StoredRuns


class TestRuns(StoredRuns):
    @pytest.fixture(autouse=True)
    def _section(self, own_server: Any) -> None:
        self.section = f'plugin = "neo4j"\nuri = "{own_server.url}"\npassword = "{PASSWORD}"\ntimeout = "60s"'

    def states(self, server: Any, namespace: str) -> set[str]:
        with GraphDatabase.driver(server.url, auth=(USER, PASSWORD)) as driver:
            found = driver.execute_query(f"MATCH (d:`{namespace}.tasks`) RETURN d.`aats:body` AS task")
        return {msgspec.json.decode(record["task"])["state"] for record in found.records}
