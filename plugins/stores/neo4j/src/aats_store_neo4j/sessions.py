"""Work on the server: within its time, tried again where that is safe, and refused at once while the server is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

from neo4j import (
    AsyncDriver,
    AsyncGraphDatabase,
    AsyncManagedTransaction,
    AsyncResult,
    AsyncSession,
    Bookmarks,
    Query,
    Record,
    unit_of_work,
)

from aats_core.breaker import Breaker
from aats_core.errors import StoreUnavailable
from aats_store_neo4j.failures import is_hopeless, is_lost, is_rolled_back, is_unknown, translate
from aats_store_neo4j.settings import Neo4jSettings
from aats_store_neo4j.slow import SlowLog, drawn

T = TypeVar("T")
Rows: TypeAlias = list[Record]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_SHARE = 0.75
"""The part of a call's time that the server may take. It looks every two seconds who has taken too long; so it is the
server that ends a transaction, and it is known how that ended."""

_WAITING = 0.9
"""The part of a call's time that it may wait for a connection, so that it can say that it was this."""

_CLOSING = 5.0
"""Seconds that closing the connections may take."""

_IDLE = 5.0
"""Seconds after which a connection is asked whether it still lives before it is used."""


_WRITES = {"aats": "write"}
"""How our transactions that write are known among others."""


class Transaction:
    """A transaction that is under way; errors are the driver's."""

    __slots__ = ("_driver", "_slow")

    def __init__(self, driver: AsyncManagedTransaction, slow: SlowLog) -> None:
        self._driver = driver
        self._slow = slow

    async def run(self, cypher: str, **parameters: Any) -> Rows:
        """Return the rows of a statement."""
        begun = perf_counter()
        rows = await _rows(await self._driver.run(cypher, parameters))
        self._slow.note(cypher, perf_counter() - begun)
        return rows


Work: TypeAlias = Callable[[Transaction], Awaitable[T]]


class Sessions:
    """Runs statements over a bounded number of connections, from `open` to `close`."""

    def __init__(self, settings: Neo4jSettings) -> None:
        self._settings = settings
        self._breaker = Breaker(settings.timeout)
        self._slow = SlowLog(settings.slow, self._explain)
        self._driver: AsyncDriver | None = None
        self._followed: set[str] = set()
        self._bookmarks = AsyncGraphDatabase.bookmark_manager(bookmarks_supplier=self._supply)
        self.place = f"{settings.uri}/{settings.database}"
        self.timeout = settings.timeout

    @property
    def driver(self) -> AsyncDriver:
        """The driver; raises `StoreUnavailable` where the store is not connected."""
        if self._driver is None:
            raise StoreUnavailable(f"{self.place}: the store is not connected")
        return self._driver

    async def open(self) -> None:
        """Connect once, to find out whether that works.

        Raises `StoreUnavailable` where it does not, and `SettingsError` for files that cannot be used.
        """
        settings = self._settings
        secret = settings.password.get_secret_value() if settings.password else None
        tls: dict[str, Any] = {} if settings.tls is None else {"ssl_context": settings.tls.context()}
        try:
            self._driver = AsyncGraphDatabase.driver(
                settings.uri,
                auth=None if secret is None else (settings.username, secret),
                max_connection_pool_size=settings.pool,
                connection_timeout=settings.timeout,
                connection_acquisition_timeout=settings.timeout * _WAITING,
                max_transaction_retry_time=0,
                liveness_check_timeout=_IDLE,
                notifications_min_severity="OFF",
                telemetry_disabled=True,
                user_agent="aats",
                **tls,
            )
        except Exception as error:
            raise translate(error, self.place) from error
        try:
            await self.read("RETURN 1")
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._slow.close()
        driver, self._driver = self._driver, None
        if driver is not None:
            async with asyncio.timeout(_CLOSING):
                await driver.close()

    # Causal chaining with other processes

    async def bookmarks(self) -> list[str]:
        """Return what stands for everything that was written and read so far."""
        return sorted(await self._bookmarks.get_bookmarks())

    def follow(self, bookmarks: Iterable[str]) -> None:
        """Let whatever comes see at least what these stand for."""
        self._followed.update(bookmarks)

    def _supply(self) -> Bookmarks:
        return Bookmarks.from_raw_values(self._followed)

    # Work

    async def read(self, cypher: str, **parameters: Any) -> Rows:
        """Return the rows of a statement that changes nothing; it is tried again where its connection was lost."""
        query = Query(cypher, timeout=self.timeout * _SHARE)

        async def attempt(driver: AsyncDriver) -> Rows:
            begun = perf_counter()
            async with self._session(driver, "READ") as session:
                rows = await _rows(await session.run(query, parameters))
            self._slow.note(cypher, perf_counter() - begun)
            return rows

        return await self._run(attempt)

    async def write(self, work: Work[T]) -> T:
        """Return what some work makes in a transaction of its own, which is committed, for certain, once this returns.

        It is done again where it was not applied for certain: others were in its way, or its connection was lost
        before the commit. Where it is not known, `StoreUnavailable` says so.
        """

        @unit_of_work(timeout=self.timeout * _SHARE, metadata=_WRITES)
        async def unit(transaction: AsyncManagedTransaction) -> T:
            return await work(Transaction(transaction, self._slow))

        async def attempt(driver: AsyncDriver) -> T:
            async with self._session(driver, "WRITE") as session:
                done: T = await session.execute_write(unit)
                return done

        return await self._run(attempt)

    async def change(self, cypher: str, **parameters: Any) -> Rows:
        """Return the rows of a statement in a transaction of its own, as `write` does, but with one round trip less.

        A transaction that the server begins and commits by itself would save one more; where its connection is lost,
        nobody knows whether it was applied, not even where it has long been dead.
        """
        return await self._alone(cypher, parameters, _rows)

    async def create(self, cypher: str, **parameters: Any) -> int:
        """Return how many nodes a statement made that returns no rows, otherwise as `change` does."""
        return await self._alone(cypher, parameters, _created)

    async def _alone(self, cypher: str, parameters: dict[str, Any], made: Callable[[AsyncResult], Awaitable[T]]) -> T:
        query = Query(cypher, metadata=_WRITES, timeout=self.timeout * _SHARE)

        async def attempt(driver: AsyncDriver) -> T:
            begun = perf_counter()
            result = await driver.execute_query(
                query,
                parameters,
                database_=self._settings.database,
                bookmark_manager_=self._bookmarks,
                result_transformer_=made,
            )
            self._slow.note(cypher, perf_counter() - begun)
            return result

        return await self._run(attempt)

    async def alter(self, cypher: str, *, timeout: float | None = None) -> Rows:
        """Return the rows of a statement on the schema, which changes nothing the second time."""

        async def attempt(driver: AsyncDriver) -> Rows:
            async with self._session(driver, "WRITE") as session:
                return await _rows(await session.run(cypher))

        return await self._run(attempt, timeout=timeout)

    def _session(self, driver: AsyncDriver, access: str) -> AsyncSession:
        return driver.session(
            database=self._settings.database,
            default_access_mode=access,
            bookmark_manager=self._bookmarks,
        )

    async def _run(self, attempt: Callable[[AsyncDriver], Awaitable[T]], *, timeout: float | None = None) -> T:
        limit = timeout or self.timeout
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                return await self._try(attempt)
        except TimeoutError as error:
            if scope.expired():
                raise self._late(limit) from error
            raise

    async def _try(self, attempt: Callable[[AsyncDriver], Awaitable[T]]) -> T:
        pause = _FIRST_PAUSE
        while True:
            driver = self.driver
            if not self._breaker.allows():
                raise self._away()
            try:
                result = await attempt(driver)
            except Exception as error:
                if is_lost(error) and not is_unknown(error):
                    self._breaker.failed(error)
                elif not is_rolled_back(error) or is_hopeless(error):
                    wrong = translate(error, self.place)
                    if wrong is error:
                        raise
                    raise wrong from error
            else:
                self._breaker.succeeded()
                return result
            pause = await _wait(pause)

    async def wait_for_writers(self) -> None:
        """Wait until all transactions that write, of whatever process, and are under way now, have ended."""
        statement = "SHOW TRANSACTIONS YIELD transactionId, metaData WHERE metaData.aats = 'write' RETURN transactionId"
        waited = {row[0] for row in await self.read(statement)}
        while waited:
            await asyncio.sleep(_FIRST_PAUSE)
            waited &= {row[0] for row in await self.read(statement)}

    async def has_procedure(self, name: str) -> bool:
        """Tell whether the server has a procedure."""
        return bool(await self.read("SHOW PROCEDURES YIELD name WHERE name = $name RETURN name", name=name))

    async def check_writable(self) -> None:
        """Raise `StoreUnavailable` where the server cannot be reached, or only be read."""
        rows = await self.read(
            "SHOW DATABASES YIELD name, access, currentStatus WHERE name = $name AND currentStatus = 'online'"
            " RETURN max(access) AS access",
            name=self._settings.database,
        )
        if rows[0][0] is None:
            raise StoreUnavailable(f"{self.place}: the database is not online; start it, or name another in `database`")
        if rows[0][0] != "read-write":
            raise StoreUnavailable(f"{self.place}: the database can only be read; make it writable (ALTER DATABASE)")

    async def _explain(self, cypher: str) -> str:
        """Return the plan of a statement, for which the server needs no parameters: they may be large."""

        async def attempt(driver: AsyncDriver) -> str:
            async with self._session(driver, "READ") as session:
                summary = await (await session.run(f"EXPLAIN {cypher}")).consume()
                return drawn(summary.plan or {})

        return await self._run(attempt)

    def _late(self, limit: float) -> StoreUnavailable:
        if self._breaker.reason:
            return self._away()
        return StoreUnavailable(
            f"{self.place}: no answer within {limit:g} seconds; whether a write was applied is not known"
        )

    def _away(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.place}: the server cannot be reached; start it, or check `uri` ({self._breaker.reason})"
        )


async def _rows(result: AsyncResult) -> Rows:
    return [row async for row in result]


async def _created(result: AsyncResult) -> int:
    return (await result.consume()).counters.nodes_created


async def _wait(pause: float) -> float:
    """Wait for about so many seconds and return how long to wait the next time."""
    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads attempts, hides nothing
    return min(pause * 2, _LONGEST_PAUSE)
