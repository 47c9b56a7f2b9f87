"""The contracts of stores, on one server and on a cluster; times are those of the server, so they pass as they do."""

from __future__ import annotations

from typing import Any

import pytest
from aats_store_redis import RedisStore

from aats_core.clock import RealClock
from aats_core.message import new_id
from aats_core.settings import TeamInfo
from aats_core.testing.stores import KeyValueStoreContract, RecordStoreContract
from tests.services import RedisCluster, RedisServer


class OnRedis:
    """Stores over one namespace."""

    server: type[RedisServer | RedisCluster] = RedisServer
    lifetime = 5.0
    expiry_patience = 0.5

    @pytest.fixture(autouse=True)
    def _server(self, service: Any) -> None:
        self.url = service(self.server).url
        self.info = TeamInfo(namespace=f"t{new_id()[-12:]}".lower())

    def make_store(self) -> RedisStore:
        return RedisStore(RedisStore.Settings(servers=[self.url], expiry_interval=0.1), self.info, RealClock())


class TestRecords(OnRedis, RecordStoreContract):
    pass


class TestKeyValues(OnRedis, KeyValueStoreContract):
    pass


class TestRecordsOnACluster(OnRedis, RecordStoreContract):
    server = RedisCluster
    examples = 5


class TestKeyValuesOnACluster(OnRedis, KeyValueStoreContract):
    server = RedisCluster
