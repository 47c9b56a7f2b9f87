"""The database of one team: its client, its collections by their full names, and transactions in it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from aats_core.breaker import Breaker
from aats_core.clock import Clock
from aats_core.errors import StoreUnavailable
from aats_core.storage.collection import check_name
from aats_store_mongodb.driver import Driver
from aats_store_mongodb.failures import TRANSIENT, UNKNOWN_COMMIT, cause, is_lost, translate, translated
from aats_store_mongodb.settings import MongoSettings
from aats_store_mongodb.slow import SlowLog
from aats_store_mongodb.validation import Validators
from aats_store_mongodb.wire import CODEC

T = TypeVar("T")

_EXISTS = 48
_FIRST_WAIT, _LONGEST_WAIT = 0.002, 0.5
_TRANSACTION = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": WriteConcern("majority"),
    "read_preference": ReadPreference.PRIMARY,
}


class Database:
    """What a team keeps in one database: each collection is called `<namespace>.<name>` there.

    Reads and writes go to the primary, with majority as their concern. What is no collection of the team's is called
    `<namespace>:<name>`.
    """

    def __init__(self, settings: MongoSettings, namespace: str, clock: Clock) -> None:
        self._name = settings.database
        self._namespace = namespace
        self._clock = clock
        self.timeout = settings.timeout
        self._breaker = Breaker(settings.timeout)
        self._slow = SlowLog(settings.slow, self._explain)
        self._driver: Driver | None = None
        self._native: Any = None
        self._collections: dict[str, Any] = {}
        self._known: set[str] = set()
        self._left: list[Any] = []
        """Sessions in which the server may have a transaction whose connection was lost."""
        self.validators = Validators(self)

    def open(self, driver: Driver) -> None:
        """Work through a driver from now on."""
        self._driver = driver
        self._collections.clear()
        self._native = driver.client.get_database(
            self._name,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority"),
            read_concern=ReadConcern("majority"),
        )

    async def close(self) -> None:
        """End what is done beside the calls."""
        await self._slow.close()
        while self._left:
            await self._left.pop().end_session()

    @property
    def driver(self) -> Driver:
        """The driver; raises `StoreUnavailable` where the store was never connected."""
        if self._driver is None:
            raise StoreUnavailable("MongoDB: the store is not connected")
        return self._driver

    @property
    def native(self) -> Any:
        """The driver's own database, with the codecs and concerns of the store."""
        return self._native if self._driver is not None else self.driver

    @contextmanager
    def call(self, name: str, command: Mapping[str, Any], *, writing: bool = False) -> Iterator[None]:
        """Surround what is asked of the server in the matter of `name`, and raise its errors as the kernel's.

        Where the server has been away for too long, what would be asked of it fails at once. A command that takes
        long is logged. `writing` says that documents are on their way, so that a bad value is one of theirs.
        """
        if not self._breaker.allows():
            raise StoreUnavailable(
                f"{name}: MongoDB cannot be reached; start it, or check `url` ({self._breaker.reason})"
            )
        begun = time.perf_counter()
        try:
            yield
        except (PyMongoError, BSONError, OverflowError) as error:
            if is_lost(error):
                self._breaker.failed(ConnectionError(cause(error)))
            elif isinstance(error, OperationFailure):
                self._breaker.succeeded()
            raise translate(error, name, writing=writing) from error
        else:
            self._breaker.succeeded()
        finally:
            self._slow.note(command, time.perf_counter() - begun)

    async def _explain(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the server says of how it would go about a command."""
        with translated("explain"):
            explain = {"explain": command, "verbosity": "queryPlanner"}
            answer: Mapping[str, Any] = await self.native.command(explain, codec_options=CODEC)
        return answer

    def full_name(self, name: str) -> str:
        """Return what a collection is called at the server; raises `InvalidQuery` where it cannot be one."""
        return f"{self._namespace}.{check_name(name)}"

    def collection(self, name: str) -> Any:
        """Return the driver's object for a collection."""
        known = self._collections.get(name)
        if known is None:
            known = self._collections[name] = self.native[self.full_name(name)]
        return known

    def own(self, name: str) -> Any:
        """Return the driver's object for a collection that the store keeps for itself."""
        return self.native[f"{self._namespace}:{name}"]

    async def make(self, name: str, **options: Any) -> bool:
        """Make a collection where it does not exist; tells whether it did not.

        A transaction that is the first to write a collection would make it and hold up all others that do.
        """
        if name in self._known and not options:
            return False
        made = await self.repeat(lambda: self._create(name, options))
        self._known.add(name)
        return made

    async def repeat(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what work returns, done again where its connection is lost, until the timeout is over.

        For reads, and for what changes nothing when it is done again; the driver repeats those once or not at all.
        """
        wait = _FIRST_WAIT
        with pymongo.timeout(self.timeout):
            until = self._clock.monotonic() + self.timeout
            while True:
                try:
                    return await work()
                except AutoReconnect as error:
                    if not is_lost(error) or self._clock.monotonic() + wait > until:
                        raise
                wait = await self.pause(wait)

    async def pause(self, wait: float) -> float:
        """Wait for about so many seconds and return how long to wait the next time."""
        await self._clock.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - it only spreads the attempts
        return min(2 * max(wait, _FIRST_WAIT), _LONGEST_WAIT)

    async def _create(self, name: str, options: dict[str, Any]) -> bool:
        try:
            await self.native.create_collection(self.full_name(name), check_exists=False, **options)
        except OperationFailure as error:
            if error.code != _EXISTS:
                raise
            return False
        return True

    async def transact(self, work: Callable[[Any], Awaitable[T]], *, patience: float | None = None) -> T:
        """Return what work does in a transaction of its own, begun again where others came in between.

        The work is given the session. Gives up, with the driver's error, when the timeout is over, and where others
        came in between for `patience` seconds.
        """
        begun, wait = self._clock.monotonic(), _FIRST_WAIT
        async with self._lent() as session:
            while True:
                try:
                    await self.driver.begin(session, **_TRANSACTION)
                    result = await work(session)
                    await self.commit(session)
                    return result
                except PyMongoError as error:
                    limit = self.timeout if patience is None or is_lost(error) else patience
                    if not error.has_error_label(TRANSIENT) or self._clock.monotonic() > begun + limit:
                        raise
                await _roll_back(session)
                wait = await self.pause(wait)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """Yield a session in a transaction, which is rolled back unless it is committed inside."""
        async with self._lent() as session:
            await self.driver.begin(session, **_TRANSACTION)
            yield session

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Any]:
        """Yield a session, and roll back the transaction that is left in it.

        Where the connection is lost, that may not reach the server, which keeps the transaction for up to a minute, and
        with it the documents that it changed. But it ends it when another begins in the same session: so that is used
        for the next.
        """
        session = self._left.pop() if self._left else await self.driver.start_session()
        lost = False
        try:
            yield session
        except (PyMongoError, StoreUnavailable) as error:
            lost = is_lost(error) or is_lost(error.__cause__)
            raise
        except asyncio.CancelledError:
            lost = True  # perhaps: who gives up may do so because no answer comes
            raise
        finally:
            try:
                await _roll_back(session)
            finally:
                if lost:
                    self._left.append(session)
                else:
                    await session.end_session()

    async def commit(self, session: Any) -> None:
        """Commit, asking again while it is not known whether that happened."""
        until = self._clock.monotonic() + self.timeout
        while True:
            try:
                await session.commit_transaction()
            except PyMongoError as error:
                if not error.has_error_label(UNKNOWN_COMMIT) or self._clock.monotonic() > until:
                    raise
            else:
                return


async def _roll_back(session: Any) -> None:
    if session.in_transaction:
        await session.abort_transaction()


async def ended(work: Awaitable[T]) -> T:
    """Return what work returns; a caller who gives up waits for its end, so that its session is free again."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
