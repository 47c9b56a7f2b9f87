"""The database of one team: its client, its collections by their full names, and transactions in it."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from aats_core.clock import Clock
from aats_core.errors import InvalidQuery, StoreUnavailable
from aats_store_mongodb.driver import Driver
from aats_store_mongodb.failures import TRANSIENT, UNKNOWN_COMMIT
from aats_store_mongodb.wire import CODEC

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
_EXISTS = 48
_FIRST_WAIT, _LONGEST_WAIT = 0.002, 0.5
_TRANSACTION = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": WriteConcern("majority"),
    "read_preference": ReadPreference.PRIMARY,
}


class Database:
    """What a team keeps in one database: each collection is called `<namespace>.<name>` there.

    Reads and writes go to the primary, with majority as their concern.
    """

    def __init__(self, name: str, namespace: str, clock: Clock, timeout: float) -> None:
        self._name = name
        self._namespace = namespace
        self._clock = clock
        self._timeout = timeout
        self._driver: Driver | None = None
        self._known: set[str] = set()

    def open(self, driver: Driver) -> None:
        """Work through a driver from now on."""
        self._driver = driver

    @property
    def driver(self) -> Driver:
        """The driver; raises `StoreUnavailable` where the store was never connected."""
        if self._driver is None:
            raise StoreUnavailable("MongoDB: the store is not connected")
        return self._driver

    @property
    def native(self) -> Any:
        """The driver's own database, with the codecs and concerns of the store."""
        return self.driver.client.get_database(
            self._name,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority"),
            read_concern=ReadConcern("majority"),
        )

    def full_name(self, name: str) -> str:
        """Return what a collection is called at the server; raises `InvalidQuery` where it cannot be one."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidQuery(f"{name!r} cannot be a collection: use letters, digits, _, - and ., at most 120 of them")
        return f"{self._namespace}.{name}"

    def collection(self, name: str) -> Any:
        """Return the driver's object for a collection."""
        return self.native[self.full_name(name)]

    async def make(self, name: str, **options: Any) -> bool:
        """Make a collection where it does not exist; tells whether it did not.

        A transaction that is the first to write a collection would make it and hold up all others that do.
        """
        if name in self._known and not options:
            return False
        try:
            made = await self._create(name, options)
        except AutoReconnect:  # the driver does not ask again for this by itself
            made = await self._create(name, options)
        self._known.add(name)
        return made

    async def _create(self, name: str, options: dict[str, Any]) -> bool:
        try:
            await self.native.create_collection(self.full_name(name), check_exists=False, **options)
        except OperationFailure as error:
            if error.code != _EXISTS:
                raise
            return False
        return True

    async def transact(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what work does in a transaction of its own, begun again where others came in between.

        The work is given the session. Gives up, with the driver's error, when the timeout is over.
        """
        until, wait = self._clock.monotonic() + self._timeout, _FIRST_WAIT
        while True:
            try:
                async with self.session() as session:
                    result = await work(session)
                    await self.commit(session)
                    return result
            except PyMongoError as error:
                if not error.has_error_label(TRANSIENT) or self._clock.monotonic() > until:
                    raise
            await self._clock.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - it only spreads the attempts
            wait = min(2 * wait, _LONGEST_WAIT)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """Yield a session in a transaction, which is rolled back unless it is committed inside."""
        session = await self.driver.start_session()
        try:
            await self.driver.begin(session, **_TRANSACTION)
            yield session
        finally:
            if session.in_transaction:
                await session.abort_transaction()
            await session.end_session()

    async def commit(self, session: Any) -> None:
        """Commit, asking again while it is not known whether that happened."""
        until = self._clock.monotonic() + self._timeout
        while True:
            try:
                await session.commit_transaction()
            except PyMongoError as error:
                if not error.has_error_label(UNKNOWN_COMMIT) or self._clock.monotonic() > until:
                    raise
            else:
                return


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
