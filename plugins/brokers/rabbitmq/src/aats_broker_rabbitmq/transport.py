"""The connection under the driver: how it is opened, and what the server says meanwhile."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, SupportsIndex

import aiormq
from pamqp import commands
from pamqp.exceptions import PAMQPException
from pamqp.frame import unmarshal
from yarl import URL

METHOD = 1
"""The first byte of a frame with a method, as servers begin with one."""

_SHOWN = 40


class HandshakeReader(asyncio.StreamReader):
    """Keeps what the server says while a connection is made: the driver does not pass on why one is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.said = bytearray()
        self.keeps = True

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take what came."""
        if self.keeps:
            self.said.extend(data)
        super().feed_data(data)

    def foreign(self) -> str:
        """Return the beginning of what was said where that is no frame of AMQP 0-9-1."""
        return repr(bytes(self.said[:_SHOWN])) if self.said and self.said[0] != METHOD else ""

    def refusal(self) -> commands.Connection.Close | None:
        """Return the words with which the server closed the connection, if it did."""
        data, frame = bytes(self.said), None
        with suppress(PAMQPException):
            while data:
                size, _, frame = unmarshal(data)
                data = data[size:]
        return frame if isinstance(frame, commands.Connection.Close) else None


class Transport(aiormq.TransportFactory):
    """Opens the connection, and keeps its ends, so that frames can be joined and a dead connection be dropped."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.reader = HandshakeReader()
        self.writer: asyncio.StreamWriter
        self._context = context

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a host."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(
            lambda: asyncio.StreamReaderProtocol(self.reader), url.host or "", url.port or 0, ssl=self._context
        )
        self.writer = asyncio.StreamWriter(transport, protocol, self.reader, loop)
        return self.reader, self.writer
