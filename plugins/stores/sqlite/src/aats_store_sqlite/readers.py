"""The threads that read, each with a connection of its own, so that reads wait for no write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import apsw

from aats_core.errors import StoreUnavailable
from aats_store_sqlite.jobs import Job, answer

T = TypeVar("T")


class Readers:
    """Runs functions that read in threads, from `start` to `stop`."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = True

    def start(self, connections: Sequence[apsw.Connection]) -> None:
        """Begin to take functions."""
        self._loop = asyncio.get_running_loop()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"aats-sqlite-reader-{number}", daemon=True)
            for number, each in enumerate(connections)
        ]
        for thread in self._threads:
            thread.start()
        self._closed = False

    async def stop(self) -> None:
        """Finish what was begun, and end the threads."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.join)

    async def run(self, read: Callable[[apsw.Connection], T]) -> T:
        """Return what a function reads from a snapshot of its own."""
        if self._closed:
            raise StoreUnavailable(f"{self._path}: the store is not connected")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(Job(read, future))
        return await future

    def _run(self, connection: apsw.Connection) -> None:
        while (job := self._queue.get()) is not None:
            if not job.future.cancelled():
                job.perform(connection, self._path)
                answer(self._loop, [job])
        connection.close()
