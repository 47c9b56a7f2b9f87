"""A pool of worker processes, each of which makes one call at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from aats_agent_python import worker
from aats_core.processes import Process, Processes

EXIT_PATIENCE = 2.0
"""Seconds that an idle worker process has to end by itself when the agent stops."""

PRINTED = 8192
"""Bytes that are kept of what a function prints."""


class WorkerDied(Exception):
    """The worker process ended in the middle of a call; says how, and in `printed` what was printed last."""

    def __init__(self, how: str, printed: str) -> None:
        super().__init__(how)
        self.printed = printed


class Worker:
    """One worker process."""

    def __init__(self, process: Process, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], out: Tail) -> None:
        self._process = process
        self._reader, self._writer = streams
        self._out = out

    @property
    def usable(self) -> bool:
        """Whether the process has not ended, as far as is known."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    @property
    def printed(self) -> str:
        """The end of what was printed since the last call began."""
        return self._out.text()

    async def call(self, request: worker.Request) -> worker.Answer:
        """Make a call and return its answer; raises `WorkerDied`."""
        self._out.clear()
        body = msgspec.json.encode(request)
        try:
            self._writer.write(worker.LENGTH.pack(len(body)) + body)
            await self._writer.drain()
            (length,) = worker.LENGTH.unpack(await self._reader.readexactly(worker.LENGTH.size))
            return msgspec.json.decode(await self._reader.readexactly(length), type=worker.Answer)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerDied(await self._post_mortem(), self.printed) from error

    async def leave(self) -> None:
        """Let the idle process end by itself, and see to it that it does."""
        self._writer.close()
        try:
            async with asyncio.timeout(EXIT_PATIENCE):
                await self._process.wait()
        except (TimeoutError, ChildProcessError):
            await self.stop()
        self._out.close()

    async def stop(self) -> None:
        """End the process, and whatever it started, at once."""
        self._writer.transport.abort()
        self._out.close()
        await self._process.stop()

    async def _post_mortem(self) -> str:
        """Make sure that the process has ended, and say how it did."""
        await self._process.stop()
        await self._out.finish()
        try:
            code = await self._process.wait()
        except ChildProcessError as error:
            return str(error)
        return f"its process was ended {f'with exit code {code}' if code >= 0 else f'by {signal.Signals(-code).name}'}"


class Pool:
    """Keeps up to `size` worker processes, begun when they are needed; none of them outlives it.

    A process whose call did not come back in good order is not used again.
    """

    def __init__(self, size: int, *, path: list[Path], env: Mapping[str, str]) -> None:
        self._processes = Processes(grace=0)
        self._free = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._path = [str(place.absolute()) for place in path]
        self._env = env

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Take a worker, waiting for one to be free; an error or a cancellation that leaves the context ends it."""
        async with self._free:
            taken = await self._take()
            try:
                yield taken
            except BaseException:
                await taken.stop()
                raise
            self._idle.append(taken)

    async def close(self) -> None:
        """End every process."""
        idle, self._idle = self._idle, []
        try:
            await asyncio.gather(*(one.leave() for one in idle))
        finally:
            await self._processes.close()

    async def _take(self) -> Worker:
        while self._idle:
            taken = self._idle.pop()
            if taken.usable:
                return taken
            await taken.stop()
        return await self._start()

    async def _start(self) -> Worker:
        """Start a fresh interpreter; nothing of this process is in it but its environment."""
        ours, theirs = socket.socketpair()
        out, into = os.pipe()
        async with AsyncExitStack() as undo:
            undo.callback(theirs.close)
            undo.callback(os.close, into)
            async with AsyncExitStack() as on_failure:
                streams = await asyncio.open_unix_connection(sock=ours)
                on_failure.callback(streams[1].transport.abort)
                loop = asyncio.get_running_loop()
                _, tail = await loop.connect_read_pipe(Tail, os.fdopen(out, "rb", 0))
                on_failure.callback(tail.close)
                process = await self._processes.start(
                    [sys.executable, "-P", "-u", "-X", "faulthandler", worker.__file__, "3", *self._path],
                    env=self._env,
                    fds={1: into, 2: into, 3: theirs.fileno()},
                )
                on_failure.pop_all()
        return Worker(process, streams, tail)


class Tail(asyncio.Protocol):
    """Takes all that a worker process prints, and keeps the end of it."""

    transport: asyncio.ReadTransport

    def __init__(self) -> None:
        self._kept = bytearray()
        self._closed = asyncio.get_running_loop().create_future()

    def clear(self) -> None:
        """Forget what was printed so far."""
        self._kept.clear()

    def close(self) -> None:
        """Stop listening."""
        self.transport.close()

    def text(self) -> str:
        """Return what was kept."""
        return self._kept[-PRINTED:].decode(errors="replace").strip()

    async def finish(self) -> None:
        """Wait for the end of the output, briefly."""
        await asyncio.wait([self._closed], timeout=1.0)
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the pipe."""
        assert isinstance(transport, asyncio.ReadTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep the end."""
        self._kept += data
        if len(self._kept) > 2 * PRINTED:
            del self._kept[:-PRINTED]

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - given by the event loop
        """Note the end."""
        if not self._closed.done():
            self._closed.set_result(None)
