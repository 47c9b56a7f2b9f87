"""Reads that may be a little old, from replicas of the server."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

from pydantic import SecretStr

from aats_core.clock import Clock
from aats_core.errors import StoreError, StoreUnavailable
from aats_core.storage.operations import CheckedStream
from aats_core.storage.queries import Order
from aats_core.store import Capability, Document
from aats_store_postgres.catalog import Catalog
from aats_store_postgres.operations import Read, Reads
from aats_store_postgres.pool import Pool
from aats_store_postgres.queries import Query, make_queries
from aats_store_postgres.settings import PostgresSettings
from aats_store_postgres.sources import Source

T = TypeVar("T")
log = logging.getLogger("aats.store.postgres")

_LONGEST_INTERVAL = 1.0
_LAG = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN NULL
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
    ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 'infinity') END::float8
"""
"""By how many seconds a replica is behind, infinitely where it has applied nothing yet; null where it is none."""


class Replica:
    """One replica, whose lag is measured again and again."""

    def __init__(self, settings: PostgresSettings, dsn: SecretStr, namespace: str) -> None:
        self._most = settings.replica_lag
        self._pool = Pool(settings.model_copy(update={"dsn": dsn}), replica=True)
        catalog = Catalog(settings.db_schema, namespace)
        self._pool.on_stale = catalog.forget
        self._measured = -math.inf
        self._lag = math.inf
        self.place = self._pool.place
        self.source = Source(self._pool, catalog)
        self.wrong = "it has not been asked yet"

    @property
    def is_usable(self) -> bool:
        """Whether what it tells is new enough for certain."""
        return self._lag + time.monotonic() - self._measured <= self._most

    def give_up(self, error: StoreError) -> None:
        """Leave it alone until it is measured again."""
        self._lag, self.wrong = math.inf, str(error)

    async def watch(self) -> None:
        """Measure how far behind it is for as long as the store is open."""
        self._pool.prepare()
        try:
            while True:
                await self._measure()
                await asyncio.sleep(min(self._most / 4, _LONGEST_INTERVAL))
        finally:
            await self._pool.close()

    async def _measure(self) -> None:
        begun, was_usable = time.monotonic(), self.is_usable
        try:
            lag: float | None = await self._pool.run(lambda session: session.value(_LAG))
        except StoreError as error:
            self.give_up(error)
        else:
            self._measured, self._lag = begun, math.inf if lag is None else lag
            self.wrong = _told(lag)
        if was_usable and not self.is_usable:
            log.warning("the replica %s is not used: %s", self.place, self.wrong)


def _told(lag: float | None) -> str:
    if lag is None:
        return "it is no replica"
    return "it has applied nothing yet" if math.isinf(lag) else f"it is {lag:.1f} seconds behind"


class PostgresReplicas(Reads, CheckedStream[Query], Capability):
    """Finds, counts, aggregates and streams documents on replicas, so that the primary has less to do.

    What it tells may be `replica_lag` old. A replica that is further behind, or away, is left out; where none is left,
    the primary answers.
    """

    def __init__(self, settings: PostgresSettings, namespace: str, primary: Source, clock: Clock) -> None:
        super().__init__(make_queries(), clock)
        self._primary = primary
        self._replicas = [Replica(settings, dsn, namespace) for dsn in settings.replicas]
        self._turn = itertools.count()
        self._watching: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to look after the replicas."""
        self._watching = [asyncio.create_task(replica.watch()) for replica in self._replicas]

    async def close(self) -> None:
        """Close all connections to them."""
        watching, self._watching = self._watching, []
        for each in watching:
            each.cancel()
        if watching:
            await asyncio.wait(watching)

    @property
    def unused(self) -> Sequence[str]:
        """What is wrong with those replicas that are not used."""
        return [f"the replica {each.place} is not used: {each.wrong}" for each in self._replicas if not each.is_usable]

    def _usable(self) -> list[Replica]:
        """Return the replicas that can be asked, in turn."""
        usable = [replica for replica in self._replicas if replica.is_usable]
        first = next(self._turn) % len(usable) if usable else 0
        return usable[first:] + usable[:first]

    async def _read(self, name: str, read: Read[T]) -> T:
        for replica in self._usable():
            try:
                return await replica.source.read(name, read)
            except StoreUnavailable as error:
                replica.give_up(error)
        return await self._primary.read(name, read)

    def _stream(self, name: str, query: Query, order: Order) -> AsyncGenerator[Document, None]:
        usable = self._usable()
        return (usable[0].source if usable else self._primary).stream(name, query, order)
