"""What a command writes, kept within a bound however much it is."""

from __future__ import annotations

import asyncio
import os
import re

PATIENCE = 1.0
"""Seconds to wait for the end of an output whose writers have all ended."""

_LINE = 4096
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")


class Capture(asyncio.Protocol):
    """Takes all that comes out of a pipe, so that no writer is held up, and keeps its begin and its end.

    `changed` is set whenever something came.
    """

    transport: asyncio.ReadTransport

    def __init__(self, limit: int) -> None:
        self.received = 0
        self.changed = asyncio.Event()
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def dropped(self) -> int:
        """How many bytes were left out."""
        return max(self.received - 2 * self._half, 0)

    def text(self) -> str:
        """Return what was kept as text; bytes that are not UTF-8 are replaced, and trailing line ends taken off."""
        tail = self._tail[-self._half :]
        if not self.dropped:
            return (self._head + tail).decode(errors="replace").rstrip("\r\n")
        head, end = self._head.decode(errors="replace"), tail.decode(errors="replace").rstrip("\r\n")
        return f"{head}\n[... {self.dropped} bytes left out ...]\n{end}"

    def last_line(self) -> str:
        """Return the last line that is not blank, without what steers a terminal."""
        recent = (self._tail or self._head)[-_LINE:].decode(errors="replace")
        lines = [_plain(line) for line in re.split(r"[\r\n]+", recent)]
        return next((line for line in reversed(lines) if line), "")

    async def finish(self) -> None:
        """Wait for the end of the output, briefly: someone outside may hold the pipe open for ever."""
        await asyncio.wait([self._closed], timeout=PATIENCE)
        self.transport.close()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the pipe."""
        assert isinstance(transport, asyncio.ReadTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what is to be kept."""
        self.received += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]
        self.changed.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - given by the event loop
        """Note the end."""
        if not self._closed.done():
            self._closed.set_result(None)


async def open_capture(limit: int) -> tuple[Capture, int]:
    """Return a capture and the file descriptor that its writer writes to, which the caller closes."""
    out, into = os.pipe()
    try:
        _, capture = await asyncio.get_running_loop().connect_read_pipe(lambda: Capture(limit), os.fdopen(out, "rb", 0))
    except BaseException:
        os.close(into)
        raise
    return capture, into


def _plain(line: str) -> str:
    return "".join(c for c in _ESCAPES.sub("", line) if c.isprintable()).strip()
