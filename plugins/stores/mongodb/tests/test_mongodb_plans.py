"""A plan whose tasks live in MongoDB: killed with -9 in the middle, the same command again carries it to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from plugins.stores.mongodb.tests.conftest import DATABASE
from tests.stored_runs import StoredRuns


class TestRuns(StoredRuns):
    section = f'plugin = "mongodb"\nurl = {{ env = "PLAN_STORE" }}\ndatabase = "{DATABASE}"'

    @pytest.fixture(autouse=True)
    def _short_transactions(self, own_server: Any) -> Iterator[None]:
        """Have the server soon give up the transactions of runs that were killed, which hold the next one up."""
        with own_server.short_transactions():
            yield

    def states(self, server: Any, namespace: str) -> set[str]:
        with pymongo.MongoClient(server.url) as client:
            return set(client[DATABASE][f"{namespace}.tasks"].distinct("state"))
