from __future__ import annotations

import threading

import pytest
from aats_store_mongodb import MongoStore
from motor.frameworks import asyncio as motor_threads

from aats_core.testing.stores import KeyValueStoreContract, RecordStoreContract


class OnOneServer:
    driver = "pymongo"
    lifetime = 6.0
    expiry_patience = 1.0

    @pytest.fixture(autouse=True)
    def _server(self, make_store):
        self._make = make_store

    def make_store(self) -> MongoStore:
        return self._make(driver=self.driver)


class TestRecords(OnOneServer, RecordStoreContract):
    pass


class TestKeyValues(OnOneServer, KeyValueStoreContract):
    pass


class ThroughMotor(OnOneServer):
    driver = "motor"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _all_threads_of_motor(cls):
        """Have Motor start the threads that it keeps as long as the process, so that no test takes them for leaks."""
        together = threading.Barrier(motor_threads.max_workers)
        for each in [motor_threads._EXECUTOR.submit(together.wait) for _ in range(motor_threads.max_workers)]:
            each.result()


class TestRecordsThroughMotor(ThroughMotor, RecordStoreContract):
    pass


class TestKeyValuesThroughMotor(ThroughMotor, KeyValueStoreContract):
    pass
