from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest
from aats_store_mongodb import MongoStore

from aats_core.clock import RealClock
from aats_core.settings import TeamInfo
from tests.services import MongoServer

DATABASE = "aats_contract"


@pytest.fixture(scope="module")
def server(service) -> Iterator[MongoServer]:
    """The server, whose database of tests is dropped after each module."""
    server = service(MongoServer)
    yield server
    server.start()
    with pymongo.MongoClient(server.url) as client:
        client.drop_database(DATABASE)


@pytest.fixture
def own_server(server: MongoServer) -> MongoServer:
    """The same one, for tests that kill it."""
    if server.given:
        pytest.skip("the server that AATS_TEST_MONGODB_URL names is not ours to kill")
    return server


@pytest.fixture
def make_store(server) -> Callable[..., MongoStore]:
    """Make unconnected stores on the server, or at another address."""

    def make(url: str = "", **settings: Any) -> MongoStore:
        values = {"url": url or server.url, "database": DATABASE, **settings}
        return MongoStore(MongoStore.Settings(**values), TeamInfo(), RealClock())

    return make


@pytest.fixture
def forgotten_sockets() -> Iterator[None]:
    """Let go of sockets that PyMongo does not close where it is cancelled while it connects, without a warning."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
