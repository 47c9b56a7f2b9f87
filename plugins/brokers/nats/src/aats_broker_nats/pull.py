"""Taking messages from a consumer of the server, as many as there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg

from aats_broker_nats.connection import Connection, Listener
from aats_core.errors import BrokerError
from aats_core.message import new_id

EXPIRES = 30.0
"""Seconds after which the server answers a request that it could not fulfil; it is then made again."""
SLACK = 5.0
"""Seconds that this answer may be late before the request counts as lost."""
AGAIN = 0.25
"""Seconds after which a request that is over at once is made again, as now and then it is not answered."""
MAX_BYTES = 32 * 1024 * 1024


class Pull:
    """Keeps one request for messages with the server whenever there is room, and hands on what comes.

    `room` says how many messages fit; the next request waits until a quarter of what fits in all is free.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        *,
        room: Callable[[], int],
        least: int,
        receive: Callable[[Msg], None],
    ) -> None:
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._room = room
        self._least = least
        self._receive = receive
        self._asked = 0
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to ask."""
        self._asked = 0
        self._listener = await self._connection.listen(f"_INBOX.{new_id()}", self._take)
        self.more()

    async def stop(self) -> None:
        """Ask no more; returns when all that the server had sent is handed on."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        for pending in (self._timer, self._asking):
            if pending is not None:
                pending.cancel()
        await self._connection.ignore(listener, drain=True)
        if self._connection.up.is_set():
            await self._clear()

    async def _clear(self) -> None:
        """Make the server forget requests that nobody listens for any more.

        Until it does, NATS 2.9 mistakes its place in the stream when a message is given back.
        """
        answered = asyncio.Event()

        async def take(message: Msg) -> None:
            await self._take(message)
            answered.set()

        inbox = f"_INBOX.{new_id()}"
        listener = await self._connection.listen(inbox, take)
        body = {"batch": 1, "expires": 1_000_000}
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(SLACK):
                while not answered.is_set():
                    await self._connection.publish(self._subject, msgspec.json.encode(body), inbox)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(AGAIN):
                            await answered.wait()
        await self._connection.ignore(listener, drain=True)

    def again(self) -> None:
        """Ask anew: the request that was made is lost."""
        self._asked = 0
        self.more()

    def more(self) -> None:
        """Ask for what there is room for, unless that is little or the last request is not yet answered."""
        if self._asked or self._listener is None:
            return
        room = self._room()
        if room < self._least:
            return
        self._asked = room
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(EXPIRES + SLACK, self.again)
        self._asking = loop.create_task(self._ask(room, self._listener.subject))

    async def _ask(self, count: int, inbox: str) -> None:
        body = {"batch": count, "expires": int(EXPIRES * 1e9), "max_bytes": self._max_bytes()}
        if self._connection.up.is_set():
            try:
                await self._connection.publish(self._subject, msgspec.json.encode(body), inbox)
            except BrokerError:
                self._asked = 0  # the connection is lost, and when it is back `again` asks

    def _max_bytes(self) -> int:
        return max(MAX_BYTES, self._connection.max_payload + 65_536)

    async def _take(self, message: Msg) -> None:
        if message.headers and "Status" in message.headers and not message.reply:
            if message.headers["Status"] != "100":
                delay = 0.0 if message.headers["Status"] in ("404", "408") else 0.05
                self._asked = -1
                asyncio.get_running_loop().call_later(delay, self.again)
            return
        if self._asked > 0:
            self._asked -= 1
        self._receive(message)
