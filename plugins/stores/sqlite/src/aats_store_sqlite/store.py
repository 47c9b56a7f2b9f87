"""The SQLite store: opens the file, and offers records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import apsw

from aats_core.clock import Clock
from aats_core.errors import AatsError
from aats_core.health import Health, HealthStatus
from aats_core.settings import TeamInfo
from aats_core.store import Capability, Store
from aats_store_sqlite.catalog import Catalog
from aats_store_sqlite.connection import open_reader, open_writer
from aats_store_sqlite.readers import Readers
from aats_store_sqlite.records import SqliteRecords
from aats_store_sqlite.session import Session
from aats_store_sqlite.settings import SqliteSettings
from aats_store_sqlite.writer import Writer


class SqliteStore(Store):
    """Keeps records, keys and graphs in one SQLite file; a write is durable once it returns.

    One thread writes and some read. Writes that come at the same time share one commit.
    """

    Settings: ClassVar[type[SqliteSettings]] = SqliteSettings

    def __init__(self, settings: SqliteSettings, info: TeamInfo, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._path = info.state_dir / (settings.path or Path("store.db"))
        self._catalog = Catalog(info.namespace)
        self._writer = Writer(self._path)
        self._readers = Readers(self._path)
        self._capabilities = (
            SqliteRecords(self._writer, self._readers, self._catalog, clock, self._settings.transaction_timeout),
        )
        self._connection: apsw.Connection | None = None

    @property
    def capabilities(self) -> Sequence[Capability]:
        """Records."""
        return self._capabilities

    async def connect(self) -> None:
        """Open the file, making it where there is none."""
        writing, reading = await asyncio.to_thread(self._open)
        self._connection = writing
        self._catalog.load(writing)
        self._writer.start(Session(writing, self._catalog, self._clock))
        self._readers.start(reading)

    def _open(self) -> tuple[apsw.Connection, list[apsw.Connection]]:
        timeout = self._settings.timeout
        return open_writer(self._path, timeout), [
            open_reader(self._path, timeout) for _ in range(self._settings.readers)
        ]

    async def close(self) -> None:
        """Finish what was begun and close the file."""
        if self._connection is None:
            return
        await self._readers.stop()
        await self._writer.stop()
        self._connection.close()

    async def health(self) -> Health:
        """Say whether the file can be read and written."""
        if self._connection is None:
            return Health(HealthStatus.DOWN, f"{self._path}: the store is not connected")
        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._writer.submit(lambda _: None)
        except (AatsError, TimeoutError) as error:
            return Health(HealthStatus.DOWN, str(error))
        return Health()

    @property
    def native(self) -> Any:
        """The `apsw.Connection` that writes."""
        return self._connection
