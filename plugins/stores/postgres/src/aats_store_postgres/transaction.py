"""A transaction of a caller: a session of its own, from its first to its last step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeAlias, TypeVar

import asyncpg

from aats_core.clock import Clock
from aats_core.errors import StoreError, StoreUnavailable
from aats_core.storage.queries import Queries
from aats_core.store import Records
from aats_store_postgres.catalog import Collection
from aats_store_postgres.failures import LOST, is_lost, translate
from aats_store_postgres.operations import Change, Operations, Read
from aats_store_postgres.pool import Pool
from aats_store_postgres.queries import Query
from aats_store_postgres.session import Session

T = TypeVar("T")
Made: TypeAlias = Callable[[str], Awaitable[Collection]]


class Transaction(AbstractAsyncContextManager[Records]):
    """Begins when entered; commits when left, or rolls back where left by an exception.

    It sees the state that its first step finds. Where its next step does not come within `timeout` seconds the server
    rolls it back, so that it holds nobody up for ever.
    """

    def __init__(self, pool: Pool, queries: Queries[Query], clock: Clock, made: Made, timeout: float) -> None:
        self._pool = pool
        self._queries = queries
        self._clock = clock
        self._made = made
        self._timeout = timeout
        self._session: Session | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Records:
        """Take a session and begin."""
        begin = (
            "BEGIN ISOLATION LEVEL REPEATABLE READ;"
            f"SET LOCAL idle_in_transaction_session_timeout = {int(self._timeout * 1000)}; SAVEPOINT step"
        )
        session = await self._pool.begin(begin)
        self._session = session
        return _InTransaction(self, self._queries, self._clock, self._made)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit and wait until that is durable, or roll back."""
        session, self._session = self._session, None
        if session is None:
            if error is None:
                raise StoreError(f"{self._pool.place}: the transaction was rolled back when its connection was lost")
            return
        if session.connection.is_closed() or isinstance(error, asyncio.CancelledError):
            self._pool.discard(session)
            if error is None:
                raise self._expired()
            return
        await self._end(session, "ROLLBACK" if error is not None else "COMMIT")

    async def _end(self, session: Session, way: str) -> None:
        try:
            async with asyncio.timeout(self._pool.timeout):
                await session.run(way)
        except Exception as error:
            self._pool.discard(session)
            if way == "COMMIT":
                raise self._translated(error) from error
        except BaseException:
            self._pool.discard(session)
            raise
        else:
            self._pool.release(session)

    async def run(self, step: Callable[[Session], Awaitable[T]], *, changes: bool) -> T:
        """Run a step within the transaction; where it raises, the others stay."""
        async with self._turn:
            if self._session is None:
                raise StoreError("the transaction has ended")
            session = self._session
            try:
                async with asyncio.timeout(self._pool.timeout):
                    return await _guarded(session, step, changes=changes)
            except (asyncpg.PostgresError, *LOST, asyncio.CancelledError) as error:
                if session.connection.is_closed() or is_lost(error) or not isinstance(error, asyncpg.PostgresError):
                    self._session = None
                    self._pool.discard(session)
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, TimeoutError):
            return StoreUnavailable(f"{self._pool.place}: no answer within {self._pool.timeout:g} seconds")
        return self._expired() if is_lost(error) else translate(error, self._pool.place)

    def _expired(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._pool.place}: the transaction was rolled back: its connection was lost, or its next step did not "
            f"come within {self._timeout:g} seconds"
        )


async def _guarded(session: Session, step: Callable[[Session], Awaitable[T]], *, changes: bool) -> T:
    try:
        result = await step(session)
    except (StoreError, asyncpg.PostgresError):
        if not session.connection.is_closed():
            await session.run("ROLLBACK TO step")
        raise
    if changes:
        await session.run("RELEASE step; SAVEPOINT step")
    return result


class _InTransaction(Operations):
    """Operations that see what the transaction has written."""

    def __init__(self, transaction: Transaction, queries: Queries[Query], clock: Clock, made: Made) -> None:
        super().__init__(queries, clock)
        self._transaction = transaction
        self._made = made

    async def _read(self, name: str, read: Read[T]) -> T:
        known = await self._made(name)
        return await self._transaction.run(lambda session: read(session, known), changes=False)

    async def _change(self, name: str, change: Change[T]) -> T:
        known = await self._made(name)
        return await self._transaction.run(lambda session: change(session, known), changes=True)
