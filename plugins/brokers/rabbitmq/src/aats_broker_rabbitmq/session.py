"""One connection to RabbitMQ: the only place that knows how the driver opens, uses and fails them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from urllib.parse import quote

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelInvalidStateError,
    ConnectionClosed,
    InvalidFrameError,
)
from pamqp import commands
from yarl import URL

from aats_broker_rabbitmq.settings import RabbitSettings
from aats_broker_rabbitmq.topology import declare
from aats_broker_rabbitmq.transport import Transport
from aats_core.errors import BrokerError, BrokerUnavailable

log = logging.getLogger(__name__)

BROKEN = (
    AMQPConnectionError,
    ChannelInvalidStateError,
    ConnectionClosed,
    OSError,
    TimeoutError,
    asyncio.CancelledError,
)
"""What the driver raises where a connection ends under it; it also cancels calls that it cannot finish."""


LOGIN_REFUSED, VHOST_REFUSED = 403, 530
"""Codes of AMQP 0-9-1 with which the server closes a connection that it will not accept a moment later either."""


class AccessRefused(BrokerUnavailable):
    """The server does not accept the user or the password, or that user in the virtual host."""


@asynccontextmanager
async def translated(what: str) -> AsyncIterator[None]:
    """Turn the driver's errors into the kernel's."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerUnavailable(f"{what}: the connection to RabbitMQ ended") from error
    except BROKEN as error:
        raise BrokerUnavailable(f"{what}: {reason(error)}") from error
    except AMQPError as error:
        raise BrokerError(f"{what}: RabbitMQ refused: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return what an error of the driver says, in words."""
    words = " ".join(str(word) for word in error.args if word)
    return words or type(error).__name__


class Session:
    """A connection with the channel that everything is published on."""

    def __init__(self, connection: AbstractConnection, writer: asyncio.StreamWriter, address: str) -> None:
        self.connection = connection
        self.address = address
        self.publishing: Channel
        self.publishing_closed: asyncio.Future[Any]
        self.max_frame: int = connection.connection_tune.frame_max or 131_072
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the connection is closed, or the channel for publishing where no other took its place."""
        self.declared: set[str] = set()
        self.confirmed = asyncio.get_running_loop().time()
        """When the server last confirmed what was published, or at first when the session began."""
        self._writer = writer
        self._renewing = asyncio.Lock()
        connection.closing.add_done_callback(self._end)

    @classmethod
    async def open(cls, address: str, settings: RabbitSettings) -> Session:
        """Connect to one address and declare what all groups share; raises a `BrokerError` with the reason."""
        given = URL(address)
        secure = given.scheme == "amqps"
        url = URL.build(
            scheme=given.scheme,
            host=given.host or "",
            port=given.explicit_port or (5671 if secure else 5672),
            user=settings.user,
            password=settings.password.get_secret_value(),
            path="/" + quote(settings.vhost, safe=""),
            encoded=False,
        ).update_query(heartbeat=round(settings.heartbeat))
        transport = Transport(settings.tls.context() if secure else None)
        async with translated(address):
            try:
                connection = await aiormq.connect(url, transport_factory=transport)
            except (AMQPConnectionError, InvalidFrameError) as error:
                if said := transport.reader.foreign():
                    raise BrokerUnavailable(f"{address}: what listens there is no RabbitMQ, it says {said}") from error
                raise _refused(address, settings, transport.reader.refusal()) or error from error
            transport.reader.keeps = False
            session = cls(connection, transport.writer, address)
            try:
                await session._open_publishing()
                await declare(session.publishing, settings)
            except BaseException:
                session.abort()
                raise
        return session

    @property
    def alive(self) -> bool:
        """Whether the connection is up as far as is known."""
        return not self.connection.is_closed and not self.publishing.is_closed

    async def channel(self, *, confirms: bool = False) -> Channel:
        """Open another channel."""
        channel = await self.connection.channel(publisher_confirms=confirms, frame_buffer_size=0)
        return cast("Channel", channel)

    async def renew(self, refusing: Channel, timeout: float) -> None:
        """Publish on another channel than that one, unless that has come about already."""
        async with self._renewing:
            if self.publishing is refusing and self.alive:
                async with translated(self.address), asyncio.timeout(timeout):
                    await self._open_publishing()
                log.warning("RabbitMQ at %s refused messages; publishing on another channel", self.address)

    async def _open_publishing(self) -> None:
        channel = await self.channel(confirms=True)
        self.publishing, self.publishing_closed = channel, channel.closing

        def end(_: object) -> None:
            if self.publishing is channel:
                self._end()

        self.publishing_closed.add_done_callback(end)

    def _end(self, _: object = None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def write(self, frames: bytes) -> None:
        """Send whole frames, which never mix with those of the driver; they are lost where the connection is."""
        if not self._writer.is_closing():
            self._writer.write(frames)

    async def drain(self) -> None:
        """Wait until the server has taken most of what was sent."""
        await self._writer.drain()

    def abort(self) -> None:
        """Drop a connection that no longer answers."""
        self._writer.transport.abort()

    async def close(self, timeout: float) -> None:
        """Take leave of the server, if it listens."""
        with suppress(Exception):
            async with asyncio.timeout(timeout):
                await self.connection.close()
        self.abort()


def _refused(address: str, settings: RabbitSettings, said: commands.Connection.Close | None) -> BrokerError | None:
    if said is None:
        return None
    who, words = repr(settings.user), f"{said.reply_code} {said.reply_text}"
    if said.reply_code == LOGIN_REFUSED:
        return AccessRefused(f"{address}: RabbitMQ refused the user {who} or the password: {words}")
    if said.reply_code == VHOST_REFUSED:
        return AccessRefused(f"{address}: RabbitMQ refused the vhost {settings.vhost!r} to the user {who}: {words}")
    return BrokerUnavailable(f"{address}: RabbitMQ closed the connection at once: {words}")


async def close_channel(channel: Channel, timeout: float) -> None:
    """Close a channel, by which the server gets back what was delivered on it; one that is closed stays so."""
    if not channel.is_closed:
        with suppress(*BROKEN, AMQPError):
            async with asyncio.timeout(timeout):
                await channel.close()
