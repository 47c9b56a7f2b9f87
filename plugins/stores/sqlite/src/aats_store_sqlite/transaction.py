"""A transaction of a caller: it has the writer's thread for itself from its first to its last step."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from aats_core.clock import Clock
from aats_core.errors import StoreError
from aats_core.storage.queries import Queries
from aats_core.store import Records
from aats_store_sqlite.jobs import Job, answer, post
from aats_store_sqlite.operations import Operations, Read
from aats_store_sqlite.queries import Query
from aats_store_sqlite.session import Session, Step
from aats_store_sqlite.writer import Writer

T = TypeVar("T")


class Transaction(AbstractAsyncContextManager[Records]):
    """Begins when entered, once the writer is free; commits when left, or rolls back where left by an exception.

    Where its next step does not come within `timeout` seconds it is rolled back, so that it holds nobody up for ever.
    """

    def __init__(self, writer: Writer, queries: Queries[Query], clock: Clock, timeout: float) -> None:
        self._writer = writer
        self._queries = queries
        self._clock = clock
        self._timeout = timeout
        self._steps: SimpleQueue[Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._over = ""

    async def __aenter__(self) -> Records:
        """Wait for the writer and begin."""
        begun = self._loop.create_future()
        self._writer.submit_exclusive(lambda session: self._run(session, Job(_begin, begun)))
        try:
            await begun
        except BaseException:
            self._steps.put(None)
            raise
        return _InTransaction(self, self._queries, self._clock)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit and wait until that is durable, or roll back."""
        over = self._over
        self._over = self._over or "the transaction has ended"
        try:
            if error is None and over:
                raise StoreError(over)
            if error is None:
                await self._put(Session.commit)
        finally:
            self._steps.put(None)  # rolls back what was not committed, also where the commit failed

    async def submit(self, step: Step) -> Any:
        """Run a step within the transaction; where it raises, the others stay."""
        if self._over:
            raise StoreError(self._over)
        return await self._put(lambda session: _guarded(session, step))

    def _put(self, step: Step) -> asyncio.Future[Any]:
        job = Job(step, self._loop.create_future())
        self._steps.put(job)
        return job.future

    def _run(self, session: Session, begin: Job) -> None:
        """Serve the steps, in the writer's thread."""
        job: Job | None = begin
        while job is not None:
            job.perform(session, self._writer.path)
            answer(self._loop, [job])
            if not session.connection.in_transaction:
                post(self._loop, lambda: self._end("SQLite rolled it back when a step failed"))
                break
            try:
                job = self._steps.get(timeout=self._timeout)
            except Empty:
                post(self._loop, lambda: self._end(f"its next step did not come within {self._timeout:g} seconds"))
                break
        self._writer.roll_back()

    def _end(self, reason: str) -> None:
        """Have every later step refused, and those that came too late to be served."""
        self._over = self._over or f"the transaction was rolled back: {reason}"
        while not self._steps.empty():
            job = self._steps.get_nowait()
            if job is not None:
                job.error = StoreError(self._over)
                job.settle()


class _InTransaction(Operations):
    """Operations that see what the transaction has written."""

    def __init__(self, transaction: Transaction, queries: Queries[Query], clock: Clock) -> None:
        super().__init__(queries, clock)
        self._transaction = transaction

    async def _read(self, name: str, read: Read[T]) -> T:
        result: T = await self._transaction.submit(
            lambda session: read(session.connection, session.collection(name), session.collection)
        )
        return result

    async def _change(self, step: Step) -> Any:
        return await self._transaction.submit(step)


def _begin(session: Session) -> None:
    session.connection.execute("BEGIN IMMEDIATE")


def _guarded(session: Session, step: Step) -> Any:
    with session.savepoint():
        return step(session)
