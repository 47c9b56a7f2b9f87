"""`aats migrate` on databases of servers does what it does on the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymongo
import pytest

from tests.migrating import Project, Scenarios, project_at
from tests.services import MongoServer, Neo4jServer, PostgresServer, RedisServer
from tests.services.neo4j import PASSWORD

DATABASE = "aats_migrations_test"


def team(section: str) -> str:
    return f'[team]\nnamespace = "t{uuid4().hex[:12]}"\n\n[stores.primary]\n{section}\n'


@pytest.fixture(scope="module")
def mongo(service: Any) -> Iterator[str]:
    """The address of a server that soon gives up the transactions of clients that were killed."""
    server = service(MongoServer)
    with server.short_transactions():
        yield server.url
    with pymongo.MongoClient(server.url) as client:
        client.drop_database(DATABASE)


class TestOnPostgres(Scenarios):
    @pytest.fixture
    def project(self, service, tmp_path: Path) -> Iterator[Project]:
        with project_at(tmp_path, team(f'plugin = "postgres"\ndsn = "{service(PostgresServer).url}"')) as project:
            yield project


class TestOnMongo(Scenarios):
    @pytest.fixture
    def project(self, mongo: str, tmp_path: Path) -> Iterator[Project]:
        section = f'plugin = "mongodb"\nurl = "{mongo}"\ndatabase = "{DATABASE}"'
        with project_at(tmp_path, team(section)) as project:
            yield project


class TestOnRedis(Scenarios):
    @pytest.fixture
    def project(self, service: Any, tmp_path: Path) -> Iterator[Project]:
        with project_at(tmp_path, team(f'plugin = "redis"\nservers = ["{service(RedisServer).url}"]')) as project:
            yield project


class TestOnNeo4j(Scenarios):
    @pytest.fixture
    def project(self, service: Any, tmp_path: Path) -> Iterator[Project]:
        section = f'plugin = "neo4j"\nuri = "{service(Neo4jServer).url}"\npassword = "{PASSWORD}"\ntimeout = "60s"'
        with project_at(tmp_path, team(section)) as project:
            yield project
