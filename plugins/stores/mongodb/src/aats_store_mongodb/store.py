"""The MongoDB store: opens a client, and offers records and keys over it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from pymongo.errors import ConnectionFailure, PyMongoError

from aats_core.clock import Clock
from aats_core.errors import StoreError, StoreUnavailable
from aats_core.health import Health, HealthStatus
from aats_core.settings import TeamInfo
from aats_core.store import Capability, Store
from aats_core.tls import TlsSettings
from aats_store_mongodb.changes import MongoChanges
from aats_store_mongodb.collections import MongoCollections
from aats_store_mongodb.database import Database
from aats_store_mongodb.driver import Driver, open_driver
from aats_store_mongodb.failures import NO_REPLICA_SET, cause, translated
from aats_store_mongodb.keyvalue import MongoKeyValues
from aats_store_mongodb.locks import MongoLocks
from aats_store_mongodb.records import MongoRecords
from aats_store_mongodb.settings import MongoSettings

_PROBE = "aats_probe"


class MongoStore(Store):
    """Keeps records and keys in MongoDB; a write is on the disks of a majority of the servers once it returns."""

    Settings: ClassVar[type[MongoSettings]] = MongoSettings

    def __init__(self, settings: MongoSettings, info: TeamInfo, clock: Clock) -> None:
        self._settings = settings
        self._info = info
        self._clock = clock
        self._database = Database(settings, info.namespace, clock)
        self._records = MongoRecords(self._database)
        self._changes = MongoChanges(self._database)
        self._collections = MongoCollections(self._database)
        self._values = MongoKeyValues(self._database, MongoLocks(self._database, clock))
        self._driver: Driver | None = None

    @property
    def capabilities(self) -> Sequence[Capability]:
        """Records, key-values, and what only MongoDB has: change streams, time series and shards."""
        return (self._records, self._values, self._changes, self._collections)

    async def connect(self) -> None:
        """Open the connections; raises `StoreUnavailable` where no server answers, or none is the primary."""
        driver = self._open()
        try:
            with translated("MongoDB"):
                await self._reach(driver)
                self._database.open(driver)
                await self._database.validators.load()
                await self._values.prepare()
        except BaseException:
            await driver.close()
            raise
        self._driver = driver

    async def _reach(self, driver: Driver) -> None:
        try:
            await driver.client.admin.command("ping")
        except ConnectionFailure as error:
            tls = self._settings.tls
            if tls is not None and tls.certificate is None:  # a server that misses one closes without a word
                raise StoreUnavailable(
                    "MongoDB: cannot be reached; if the servers ask for a certificate, set `tls.certificate` "
                    f"({cause(error)})"
                ) from error
            raise

    def _open(self) -> Driver:
        settings, milliseconds = self._settings, round(self._settings.timeout * 1000)
        options: dict[str, Any] = {
            "appname": f"aats {self._info.name}"[:128],
            "maxPoolSize": settings.pool_size,
            "timeoutMS": milliseconds,
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
        }
        if settings.tls is not None:
            options.update(_tls_options(settings.tls))
        if settings.username:
            options["username"] = settings.username
        if settings.password is not None:
            options["password"] = settings.password.get_secret_value()
        try:
            return open_driver(settings.driver, settings.url.get_secret_value(), options)
        except ImportError as error:
            raise StoreUnavailable(f"MongoDB: driver = {settings.driver}: it is not installed ({error})") from error
        except (PyMongoError, ValueError) as error:
            raise StoreUnavailable(f"MongoDB: the settings cannot be used: {error}") from error

    async def close(self) -> None:
        """Finish what was begun and close the connections."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await self._records.drain()
            await self._database.close()
            await driver.close()

    async def health(self) -> Health:
        """Say whether the database can be reached and written, and whether it has transactions."""
        if self._driver is None:
            return Health(HealthStatus.DOWN, "MongoDB: the store is not open; connect it")
        try:
            async with asyncio.timeout(self._settings.timeout):
                with translated("MongoDB"):
                    return await self._look(self._driver)
        except TimeoutError:
            detail = f"MongoDB: no answer within {self._settings.timeout:g} seconds; a server or the network hangs"
        except StoreError as error:
            detail = str(error)
        return Health(HealthStatus.DOWN, detail)

    async def _look(self, driver: Driver) -> Health:
        hello = await driver.client.admin.command("hello")
        probe = self._database.collection(_PROBE)
        await probe.update_one({"_id": self._info.node}, {"$set": {"time": self._clock.time()}}, upsert=True)
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            return Health(HealthStatus.DEGRADED, f"MongoDB: {NO_REPLICA_SET}")
        return Health()

    @property
    def native(self) -> Any:
        """The driver's own client, PyMongo's or Motor's."""
        return None if self._driver is None else self._driver.client


def _tls_options(tls: TlsSettings) -> dict[str, Any]:
    """Return what the driver takes; raises `SettingsError` where the files cannot be used."""
    tls.context()
    options: dict[str, Any] = {"tls": True, "tlsAllowInvalidHostnames": not tls.verify_host}
    if tls.ca is not None:
        options["tlsCAFile"] = str(tls.ca)
    if tls.certificate is not None:
        options["tlsCertificateKeyFile"] = str(tls.certificate)
    if tls.key_password is not None:
        options["tlsCertificateKeyFilePassword"] = tls.key_password.get_secret_value()
    return options
