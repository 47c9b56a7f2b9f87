"""Publishing: concurrent calls go out together, and each returns once the server has confirmed its message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiormq.channel import Channel

from aats_broker_rabbitmq import frames
from aats_broker_rabbitmq.link import Link
from aats_broker_rabbitmq.session import Session, close_channel
from aats_core.batching import Batcher
from aats_core.errors import BrokerError, BrokerUnavailable

log = logging.getLogger(__name__)

LANES = 8
"""How many batches may wait for their confirmation at once."""
RETRY = 0.1
"""Seconds before what the server refused is sent again."""


class Outgoing(NamedTuple):
    """A message on its way to an exchange, and until when it may be on its way."""

    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, Any] | None
    until: float


class _Confirmations:
    """Stands for every message of a batch among those that the driver waits for, and wakes the batch with the last."""

    def __init__(self, count: int, woken: asyncio.Future[None]) -> None:
        self.left = count
        self.refused = False
        self.woken = woken

    def done(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        self.left -= 1
        if not self.left and not self.woken.done():
            self.woken.set_result(None)

    def set_exception(self, _: BaseException) -> None:
        self.refused = True
        self.set_result(None)


class Publisher:
    """Sends messages over whatever session there is, again where a session ended before the confirmation."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._batcher: Batcher[Outgoing, None] = Batcher(self._send, lanes=LANES)

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, headers: dict[str, Any] | None = None
    ) -> None:
        """Return once the server has the message; raises `BrokerUnavailable` where that does not happen in time."""
        if self._link.session is not None:
            return await self._hand_in(exchange, routing_key, body, headers)
        clock = asyncio.get_running_loop().time
        until = clock() + self._timeout
        await self._link.ready(self._timeout)
        try:
            async with asyncio.timeout(until - clock()):
                await self._hand_in(exchange, routing_key, body, headers)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"RabbitMQ answered again, but did not confirm within {self._timeout:g} s"
            ) from error

    async def _hand_in(self, exchange: str, routing_key: str, body: bytes, headers: dict[str, Any] | None) -> None:
        """Let a batch have it, which waits as long as the message that was handed in first may."""
        until = asyncio.get_running_loop().time() + self._timeout
        await self._batcher.do(Outgoing(exchange, routing_key, body, headers, until))

    async def publish_all(self, messages: Sequence[tuple[str, str, bytes, dict[str, Any] | None]]) -> None:
        """Send messages in order, all in one go."""
        until = asyncio.get_running_loop().time() + self._timeout
        for start in range(0, len(messages), 500):
            await self._send([Outgoing(*message, until) for message in messages[start : start + 500]])

    async def drain(self) -> None:
        """Wait for what is under way."""
        await self._batcher.drain()

    async def _send(self, batch: list[Outgoing]) -> Sequence[None]:
        until = batch[0].until
        clock = asyncio.get_running_loop().time
        while True:
            session = await self._link.ready(until - clock())
            left = until - clock()
            if left > 0 and await self._attempt(session, batch, left):
                return [None] * len(batch)
            if clock() >= until:
                raise BrokerUnavailable(
                    f"RabbitMQ at {session.address} did not confirm within {self._timeout:g} s:"
                    " is it short of memory, disk or nodes?"
                )
            await asyncio.sleep(0)  # the session has ended, and the link has to notice

    async def _attempt(self, session: Session, batch: list[Outgoing], timeout: float) -> bool:
        """Send a batch, and tell whether all of it was confirmed."""
        channel, closed = session.publishing, session.publishing_closed
        if not session.alive:
            await asyncio.sleep(0.005)
            return False
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        confirmations = _Confirmations(len(batch), woken)
        self._write(session, channel, batch, confirmations)
        await asyncio.wait({woken, closed}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if woken.done():
            session.confirmed = loop.time()
        elif loop.time() >= session.confirmed + self._timeout and not channel.is_closed:
            session.abort()  # it has long confirmed nothing; a batch that came late to it says nothing against it
        if woken.done() and confirmations.refused:
            await self._replace(session, channel)
        if channel is not session.publishing and not channel.confirmations:
            await close_channel(channel, self._timeout)  # nobody else waits for what is published there
        return woken.done() and not confirmations.refused

    async def _replace(self, session: Session, channel: Channel) -> None:
        """Leave a channel on which the server refuses messages.

        Where it first published to a queue whose leader was dead, and no other elected yet, RabbitMQ 3.10 looks for the
        dead one as long as there is this channel, and refuses everything.
        """
        await asyncio.sleep(RETRY)
        try:
            await session.renew(channel, self._timeout)
        except BrokerError as error:
            log.warning("%s", error)
            session.abort()

    def _write(self, session: Session, channel: Channel, batch: list[Outgoing], mark: Any) -> None:
        tag, waiting = channel.delivery_tag, channel.confirmations
        parts = []
        for message in batch:
            tag += 1
            waiting[tag] = mark
            parts.append(
                frames.publish(
                    channel.number,
                    message.exchange,
                    message.routing_key,
                    message.body,
                    message.headers,
                    session.max_frame,
                )
            )
        channel.delivery_tag = tag
        session.write(b"".join(parts))
