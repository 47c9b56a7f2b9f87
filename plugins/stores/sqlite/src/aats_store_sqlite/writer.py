"""The thread that writes: all that waits goes into one transaction, and everyone is answered after its commit."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import apsw

from aats_core.errors import StoreUnavailable
from aats_store_sqlite.failures import spoils_transaction
from aats_store_sqlite.jobs import Job, answer, post, reason
from aats_store_sqlite.session import Session, Step

log = logging.getLogger("aats.store.sqlite")

MOST_TOGETHER = 2000
"""Jobs in one commit at most, so that the first of them does not wait for ever."""


class Exclusive:
    """Something that has the writer for itself, and opens and ends transactions on its own."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[Session], None]) -> None:
        self.run = run


class Writer:
    """Runs jobs in a thread of its own, from `start` to `stop`."""

    _session: Session
    _loop: asyncio.AbstractEventLoop
    _ended: asyncio.Future[None]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: SimpleQueue[Job | Exclusive | None] = SimpleQueue()
        self._closed = True

    def start(self, session: Session) -> None:
        """Begin to take jobs."""
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._closed = False
        threading.Thread(target=self._run, name="aats-sqlite-writer", daemon=True).start()

    async def stop(self) -> None:
        """Finish the jobs that were submitted, close the connection and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.shield(self._ended)

    def submit(self, step: Step, *, atomic: bool = False) -> asyncio.Future[Any]:
        """Have something done in the next commit; the future is done once that is durable."""
        if self._closed:
            raise self._refusal()
        future = self._loop.create_future()
        self._queue.put(Job(step, future, atomic=atomic))
        return future

    def submit_exclusive(self, run: Callable[[Session], None]) -> None:
        """Have something done outside the common commit, in the writer's thread; it must not raise."""
        if self._closed:
            raise self._refusal()
        self._queue.put(Exclusive(run))

    def _refusal(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.path}: the store is not connected")

    def _run(self) -> None:
        running = True
        while running:
            jobs, exclusive, running = self._gather()
            if jobs:
                self._commit(jobs)
                answer(self._loop, jobs)
            if exclusive is not None:
                exclusive.run(self._session)
        self._session.connection.close()
        post(self._loop, lambda: self._ended.set_result(None))

    def _gather(self) -> tuple[list[Job], Exclusive | None, bool]:
        """Return the jobs that wait, up to one that wants the writer for itself, and whether there may be more."""
        jobs: list[Job] = []
        item = self._queue.get()
        try:
            while item.__class__ is Job:
                jobs.append(item)
                if len(jobs) >= MOST_TOGETHER:
                    return jobs, None, True
                item = self._queue.get_nowait()
        except Empty:
            return jobs, None, True
        return jobs, item if isinstance(item, Exclusive) else None, item is not None

    def _commit(self, jobs: list[Job]) -> None:
        """Run jobs in one transaction; where that fails as a whole, each in one of its own."""
        session = self._session
        try:
            session.connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._perform_among_others(job)
            session.commit()
        except Exception as error:  # noqa: BLE001 - whoever awaits the future gets it
            self.roll_back()
            if len(jobs) > 1:
                for job in jobs:
                    job.error = None
                    self._commit([job])
            else:
                jobs[0].error = reason(error, self.path)

    def _perform_among_others(self, job: Job) -> None:
        session = self._session
        try:
            if job.atomic and not session.catalog.has_checked:
                job.result = job.step(session)
            else:
                with session.savepoint():
                    job.result = job.step(session)
        except Exception as error:
            if spoils_transaction(error):
                raise
            job.error = reason(error, self.path)

    def roll_back(self) -> None:
        """End the transaction, if there is one, and forget what was in it; for the writer's thread."""
        try:
            self._session.roll_back()
        except apsw.Error:
            log.exception("%s: could not roll back", self.path)
