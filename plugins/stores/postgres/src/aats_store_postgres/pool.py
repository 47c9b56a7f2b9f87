"""Connections to the server: a bounded number of them, each clean when it is handed out.

A connection needs no reset, since nothing here sets, listens or locks on one that is shared; one that was left within
a transaction, or of which it is not known what it does, is closed instead of handed on. Who wants to do more with a
connection takes one of `native`, which has a pool of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from aats_core.breaker import Breaker
from aats_core.errors import StoreUnavailable
from aats_store_postgres.failures import ROLLED_BACK, STALE, is_hopeless, is_lost, refused, translate
from aats_store_postgres.session import Connection, Session
from aats_store_postgres.settings import PostgresSettings
from aats_store_postgres.slow import SlowLog

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_MARGIN = 1.0
"""Seconds before the end of a call, or half of a shorter one, in which the server ends its statement.

So it is the server that says so, also where it or we are busy, and it is known that nothing was applied.
"""

_LOOKS = 3
"""How often a collection is looked up again that another client has changed meanwhile."""

_CLOSING = 5.0
"""Seconds that closing a connection may take."""


class Pool:
    """Hands out sessions and takes them back, from `open` to `close`; those who wait are served in their order."""

    def __init__(self, settings: PostgresSettings, *, replica: bool = False) -> None:
        """With `replica`, the server may be one that can only be read, and is given up as soon as it is away."""
        self._settings = settings
        self._breaker = Breaker(0.0 if replica else settings.timeout)
        self._wanted = "any" if replica else "read-write"
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._count = 0
        self._closed = True
        self._slow = SlowLog(self)
        self._aside = asyncio.Lock()
        self.address: dict[str, Any] = {}
        self.place = _place(settings)
        self.timeout = settings.timeout
        self.on_stale: Callable[[], None] = _ignore

    @property
    def in_use(self) -> int:
        """How many connections are in use or being opened."""
        return self._count - len(self._idle)

    @property
    def is_busy(self) -> bool:
        """Whether all connections are in use, and there can be no more."""
        return not self._idle and self._count >= self._settings.pool

    async def open(self) -> None:
        """Connect once, to find out whether that works.

        Raises `StoreUnavailable` where it does not, and `SettingsError` for files that cannot be used.
        """
        self.prepare()
        try:
            async with asyncio.timeout(self._settings.timeout):
                self.release(await self.acquire())
        except TimeoutError as error:
            self._closed = True
            raise self._away() from error
        except BaseException:
            self._closed = True
            raise

    def prepare(self) -> None:
        """Be ready to connect; raises `SettingsError` for files that cannot be used."""
        self.address = {**_address(self._settings), "target_session_attrs": self._wanted}
        self._closed = False

    async def close(self) -> None:
        """Close the connections that are idle; those in use are closed when they come back."""
        self._closed = True
        while self._waiting:
            self._hand_on(None)
        await self._slow.close()
        idle, self._idle = self._idle, []
        self._count -= len(idle)
        await asyncio.gather(*map(_close, idle))

    # Work

    async def run(self, work: Callable[[Session], Awaitable[T]], *, repeatable: bool = False, keep: bool = False) -> T:
        """Return what some work with a session makes, within the timeout of the settings.

        With `keep` the session stays with the caller. Where others were in its way the work is done again, and with
        `repeatable` also where the connection was lost: work that changes nothing. Raises errors of the kernel,
        `StoreUnavailable` where the server cannot be reached.
        """
        limit = self._settings.timeout
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                return await self._try(work, repeatable=repeatable, keep=keep)
        except TimeoutError as error:
            if scope.expired():
                raise self._late(limit) from error
            raise

    async def _try(self, work: Callable[[Session], Awaitable[T]], *, repeatable: bool, keep: bool) -> T:
        pause, stale = _FIRST_PAUSE, 0
        while True:
            session = await self.acquire()
            try:
                result = await work(session)
            except BaseException as error:
                lost = await self._take_back(session, error)
                if not isinstance(error, Exception):
                    raise
                again = isinstance(error, ROLLED_BACK) or (lost and repeatable)
                if isinstance(error, STALE):
                    self.on_stale()
                    stale += 1
                    again = stale <= _LOOKS
                if not again or self._closed:
                    wrong = translate(error, self.place)
                    if wrong is error:
                        raise
                    raise wrong from error
            else:
                if not keep:
                    self.release(session)
                return result
            pause = await _wait(pause)

    async def run_aside(self, work: Callable[[Session], Awaitable[T]], *, timeout: float | None = None) -> T:
        """Return what some work makes with a connection of its own, which it never waits for; for rare work.

        It may take as long as the settings say, or with `timeout` longer.
        """
        limit = timeout or self._settings.timeout
        async with self._aside:
            connection, result = await self._try_aside(work, limit)
            await _close(connection)
            return result

    async def own(self, prepare: Callable[[Session], Awaitable[object]]) -> Connection:
        """Return a connection that no one else uses, prepared so; the caller closes it."""
        connection, _ = await self._try_aside(prepare, self._settings.timeout)
        return connection

    async def _try_aside(self, work: Callable[[Session], Awaitable[T]], limit: float) -> tuple[Connection, T]:
        if self._closed:
            raise self._not_connected()
        try:
            async with asyncio.timeout(limit):
                pause = _FIRST_PAUSE
                while (done := await self._connect_aside(work)) is None:
                    pause = await _wait(pause)
                return done
        except Exception as error:
            if isinstance(error, TimeoutError):
                raise self._late(limit) from error
            wrong = translate(error, self.place)
            if wrong is error:
                raise
            raise wrong from error

    async def _connect_aside(self, work: Callable[[Session], Awaitable[T]]) -> tuple[Connection, T] | None:
        """Return a connection and what some work with it made, or None where it was lost and may work the next time."""
        connection = None
        try:
            connection = await _connect(self._settings, self.address)
            return connection, await work(Session(connection, self._settings.slow, self._slow))
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if not (is_lost(error) or isinstance(error, ROLLED_BACK)) or is_hopeless(error):
                raise
            self._breaker.failed(error)
            return None

    async def begin(self, script: str) -> Session:
        """Return a session in which a script has been run; the caller gives it back by `release` or `discard`."""

        async def work(session: Session) -> Session:
            await session.run(script)
            return session

        return await self.run(work, repeatable=True, keep=True)

    async def _take_back(self, session: Session, error: BaseException) -> bool:
        """Take back the connection of work that failed; tells whether it was lost."""
        connection = session.connection
        if connection.is_closed() or is_lost(error):
            self.discard(session)
            return True
        if not isinstance(error, Exception) or isinstance(error, TimeoutError):
            self.discard(session)  # what it does now is not known
            return False
        if connection.is_in_transaction():
            try:
                await connection.execute("ROLLBACK")
            except BaseException:
                self.discard(session)
                raise
        self.release(session)
        return False

    # Connections

    async def acquire(self) -> Session:
        """Return a session, which the caller gives back by `release` or `discard`; waits until there is one."""
        pause = _FIRST_PAUSE
        while True:
            if self._closed:
                raise self._not_connected()
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return Session(connection, self._settings.slow, self._slow)
                self._count -= 1
            if self._count >= self._settings.pool:
                if (handed := await self._turn()) is not None and not handed.is_closed():
                    return Session(handed, self._settings.slow, self._slow)
                self._count -= handed is not None
            elif not self._breaker.allows():
                raise self._away()
            elif (opened := await self._connect()) is not None:
                return Session(opened, self._settings.slow, self._slow)
            else:
                pause = await _wait(pause)

    async def _connect(self) -> Connection | None:
        """Open a connection; returns None where that failed and may work the next time."""
        self._count += 1
        try:
            connection = await _connect(self._settings, self.address)
        except BaseException as error:
            self._count -= 1
            self._hand_on(None)
            if isinstance(error, Exception):
                self._breaker.failed(error)
                if is_hopeless(error):
                    raise refused(error, self.place) from error
                return None
            raise
        self._breaker.succeeded()
        return connection

    async def _turn(self) -> Connection | None:
        """Wait until a connection comes back, or None where there is room for another one."""
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await future
        except BaseException:
            if future.done() and not future.cancelled():
                self._hand_on(future.result())  # the turn was ours, somebody else may have it
            raise

    def release(self, session: Session) -> None:
        """Take back a session whose work is done."""
        connection = session.connection
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self.discard(session)
        else:
            self._hand_on(connection)

    def discard(self, session: Session) -> None:
        """Take back a session that nobody is to use again."""
        self._count -= 1
        session.connection.terminate()
        self._hand_on(None)

    def _hand_on(self, connection: Connection | None) -> None:
        """Give a connection, or the room for one, to the first who waits."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        if connection is not None:
            self._idle.append(connection)

    def _late(self, limit: float) -> StoreUnavailable:
        if self._breaker.reason:
            return self._away()
        busy = self.in_use
        crowd = f", all {busy} connections are busy; raise `pool`" if busy >= self._settings.pool else ""
        return StoreUnavailable(
            f"{self.place}: no answer within {limit:g} seconds{crowd}; whether a write was applied is not known"
        )

    def _not_connected(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.place}: the store is not connected")

    def _away(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.place}: the server cannot be reached; start it, or check `dsn` ({self._breaker.reason})"
        )


def _address(settings: PostgresSettings) -> dict[str, Any]:
    """Return where the server is and how it is spoken to, as the driver takes it."""
    tls = {} if settings.tls is None else {"ssl": settings.tls.context()}
    return {"dsn": settings.dsn.get_secret_value(), **tls}


async def _connect(settings: PostgresSettings, address: dict[str, Any]) -> Connection:
    """Open a connection as all of them are: it ends statements that take too long by itself."""
    milliseconds = str(int(max(settings.timeout - _MARGIN, settings.timeout / 2) * 1000))
    return await asyncpg.connect(
        **address,
        timeout=settings.timeout,
        statement_cache_size=settings.prepared,
        max_cacheable_statement_size=1024 * 64,
        server_settings={
            "application_name": "aats",
            "statement_timeout": milliseconds,
            "standard_conforming_strings": "on",
            "client_encoding": "utf8",
            "jit": "off",
        },
    )


async def _wait(pause: float) -> float:
    """Wait for about so many seconds and return how long to wait the next time."""
    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads attempts, hides nothing
    return min(pause * 2, _LONGEST_PAUSE)


async def _close(connection: Connection) -> None:
    with contextlib.suppress(Exception):
        await connection.close(timeout=_CLOSING)


def _ignore() -> None:
    """Do nothing."""


def _place(settings: PostgresSettings) -> str:
    """Return how messages name the database: without user and password."""
    dsn = settings.dsn.get_secret_value()
    return "postgresql://" + dsn.partition("://")[2].rpartition("@")[2].partition("?")[0]
