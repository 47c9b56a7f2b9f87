"""`aats migrate` on databases of servers does what it does on the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymongo
import pytest

from tests.migrating import Project, Scenarios, project_at
from tests.services import MongoServer, PostgresServer, RedisServer

DATABASE = "aats_migrations_test"


def team(section: str) -> str:
    return f'[team]\nnamespace = "t{uuid4().hex[:12]}"\n\n[stores.primary]\n{section}\n'


@pytest.fixture(scope="module")
def mongo(service: Any) -> Iterator[str]:
    """The address of a server that soon gives up the transactions of clients that were killed."""
    url = service(MongoServer).url
    with pymongo.MongoClient(url) as client:
        was = client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=3)["was"]
        yield url
        client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=was)
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
