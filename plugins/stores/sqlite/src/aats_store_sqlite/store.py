"""The SQLite store: opens the file, and offers records, keys and graphs over it."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, ClassVar

import apsw

from aats_core.clock import Clock
from aats_core.errors import AatsError
from aats_core.health import Health, HealthStatus
from aats_core.settings import TeamInfo
from aats_core.storage.expiry import sweep_regularly
from aats_core.store import Capability, Store
from aats_store_sqlite.catalog import Catalog
from aats_store_sqlite.connection import open_other, open_reader, open_writer
from aats_store_sqlite.expiry import Expiry
from aats_store_sqlite.graph import SqliteGraph
from aats_store_sqlite.keyvalue import SqliteKeyValues
from aats_store_sqlite.readers import Readers
from aats_store_sqlite.records import SqliteRecords
from aats_store_sqlite.session import Session
from aats_store_sqlite.settings import SqliteSettings
from aats_store_sqlite.writer import Writer

log = logging.getLogger("aats.store.sqlite")

_LITTLE_ROOM = 64 * 1024 * 1024


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
        self._readers = Readers(self._path, lambda: open_reader(self._path, settings.timeout))
        self._capabilities = (
            SqliteRecords(self._writer, self._readers, self._catalog, clock, settings.transaction_timeout),
            SqliteKeyValues(self._writer, self._readers, clock, info.namespace),
            SqliteGraph(self._writer, self._readers, info.namespace),
        )
        self._expiry = Expiry(self._writer)
        self._sweeping: asyncio.Task[None] | None = None
        self._native: apsw.Connection | None = None

    @property
    def capabilities(self) -> Sequence[Capability]:
        """Records, key-values and a graph."""
        return self._capabilities

    async def connect(self) -> None:
        """Open the file, making it where there is none.

        Raises `StateTooNew` where a newer version of AATS wrote it, `StateError` where an older one did, and
        `StoreUnavailable` where it cannot be used.
        """
        writing, reading = await asyncio.to_thread(self._open)
        self._catalog.load(writing)
        self._writer.start(Session(writing, self._catalog, self._clock))
        self._readers.start(reading[1:])
        self._native = reading[0]
        self._sweeping = asyncio.create_task(
            sweep_regularly(self._expiry.sweep, self._clock, self._settings.expiry_interval, log)
        )

    def _open(self) -> tuple[apsw.Connection, list[apsw.Connection]]:
        """Return the connection that writes, and those of the readers after the one that is `native`."""
        timeout = self._settings.timeout
        with ExitStack() as opened:
            writing = opened.enter_context(closing(open_writer(self._path, timeout)))
            ways = [open_other, *[open_reader] * self._settings.readers]
            others = [opened.enter_context(closing(way(self._path, timeout))) for way in ways]
            opened.pop_all()
        return writing, others

    async def close(self) -> None:
        """Finish what was begun and close the file."""
        if self._native is None or self._sweeping is None:
            return
        self._sweeping.cancel()
        await asyncio.wait([self._sweeping])
        await self._readers.stop()
        self._native.close()
        await self._writer.stop()

    async def health(self) -> Health:
        """Say whether the file can be read and written, and whether the disk is about to be full."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._writer.submit(self._probe)
                free = await self._readers.run(self._room)
        except TimeoutError:
            return Health(
                HealthStatus.DOWN,
                f"{self._path}: not written within {self._settings.timeout:g} seconds; "
                "the disk hangs, or a transaction holds everyone up",
            )
        except AatsError as error:
            return Health(HealthStatus.DOWN, str(error))
        if free < _LITTLE_ROOM:
            return Health(HealthStatus.DEGRADED, f"{self._path}: only {free >> 20} MiB are left on the disk; make room")
        return Health()

    def _probe(self, session: Session) -> None:
        session.connection.execute("INSERT OR REPLACE INTO aats_probe VALUES (1, ?)", (self._clock.time(),))

    def _room(self, connection: apsw.Connection) -> int:
        connection.execute("SELECT time FROM aats_probe").fetchall()
        return shutil.disk_usage(self._path.parent).free

    @property
    def native(self) -> Any:
        """An `apsw.Connection` of the caller's own, for one thread at a time; it waits where the store is writing."""
        return self._native
