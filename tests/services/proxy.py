"""A TCP proxy on loopback that breaks connections in the ways networks do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Self

CHUNK = 65_536


class Fault(StrEnum):
    """What the proxy does to its connections, old and new."""

    NONE = "none"
    CUT = "cut"
    """Connections are reset, and new ones refused at once after the handshake."""
    STALL = "stall"
    """Connections stay open, and nothing passes either way."""
    HALF_OPEN = "half-open"
    """What the client says arrives, and no answer comes back."""


class FaultProxy:
    """Forwards one loopback port to another, in a thread of its own; a context manager.

    `delay` adds so many seconds to every chunk in either direction. It listens at `port`,
    or any free one.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.delay = 0.0
        self.connections = 0
        self._fault = Fault.NONE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._open = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._server = self._call(self._listen)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self._call(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def inject(self, fault: str) -> None:
        """Begin a fault, or end it with `Fault.NONE`; what was held back by a stall then passes."""
        self._call(lambda: self._inject(Fault(fault)))

    def reset(self) -> None:
        """Reset every connection once, and accept new ones."""
        self._call(self._reset)

    def _call(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        self._open.set()
        return await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        self._server.close()
        await self._inject(Fault.CUT)
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _inject(self, fault: Fault) -> None:
        self._fault = fault
        if fault is Fault.NONE:
            self._open.set()
        else:
            self._open.clear()
        if fault is Fault.CUT:
            await self._reset()

    async def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        for pipe in self._pipes:
            pipe.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault is Fault.CUT:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for source, sink, faults in (
            (reader, far_writer, {Fault.STALL}),
            (far_reader, writer, {Fault.STALL, Fault.HALF_OPEN}),
        ):
            pipe = asyncio.create_task(self._pipe(source, sink, faults))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, faults: set[Fault]) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self._fault in faults:
                    await self._open.wait()
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        with contextlib.suppress(OSError):
            sink.close()
