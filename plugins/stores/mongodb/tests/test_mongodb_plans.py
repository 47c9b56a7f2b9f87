"""A plan whose tasks live in MongoDB: killed with -9 in the middle, the same command again carries it to its end."""

from __future__ import annotations

from typing import Any

import pymongo

from plugins.stores.mongodb.tests.conftest import DATABASE
from tests.stored_runs import StoredRuns


class TestRuns(StoredRuns):
    section = f'plugin = "mongodb"\nurl = {{ env = "PLAN_STORE" }}\ndatabase = "{DATABASE}"'

    def states(self, server: Any, namespace: str) -> set[str]:
        with pymongo.MongoClient(server.url) as client:
            return set(client[DATABASE][f"{namespace}.tasks"].distinct("state"))
