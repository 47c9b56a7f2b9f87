"""The threads that read, each with a connection of its own, so that reads wait for no write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import apsw

from aats_core.errors import StoreUnavailable
from aats_store_sqlite.failures import translated
from aats_store_sqlite.jobs import Job, answer
from aats_store_sqlite.reading import snapshot

T = TypeVar("T")

_BATCH = 500
"""How much of a stream is read ahead."""


class Readers:
    """Runs functions that read in threads, from `start` to `stop`."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, path: Path, open: Callable[[], apsw.Connection]) -> None:
        self._path = path
        self._open = open
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
        self._check()
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(Job(read, future))
        return await future

    async def iterate(self, read: Callable[[apsw.Connection], Iterator[T]]) -> AsyncGenerator[T, None]:
        """Yield what a function reads from one snapshot, a batch at a time.

        It has a thread and a connection of its own, so that the others stay free, however slow the caller is.
        """
        self._check()
        source = self._batches(read)
        thread = ThreadPoolExecutor(1, "aats-sqlite-stream")
        try:
            while batch := await self._loop.run_in_executor(thread, next, source):
                for each in batch:
                    yield each
        finally:
            thread.submit(source.close)  # after what is being read, where the caller gave up
            thread.shutdown(wait=False)

    def _batches(self, read: Callable[[apsw.Connection], Iterator[T]]) -> Generator[list[T], None, None]:
        """Yield batches, the last of them empty."""
        connection = self._open()
        try:
            with translated(self._path), snapshot(connection):
                found = read(connection)
                while batch := list(islice(found, _BATCH)):
                    yield batch
            yield []
        finally:
            connection.close()

    def _check(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._path}: the store is not connected")

    def _run(self, connection: apsw.Connection) -> None:
        while (job := self._queue.get()) is not None:
            if not job.future.cancelled():
                job.perform(connection, self._path)
                answer(self._loop, [job])
        connection.close()
