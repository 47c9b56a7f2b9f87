"""Writing to streams, where every call awaits its own confirmation and none waits for another's."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import Any

import msgspec
from nats.aio.msg import Msg

from aats_broker_nats.connection import Connection, Listener
from aats_broker_nats.wire import ID
from aats_core.errors import BrokerError, BrokerUnavailable
from aats_core.message import new_id

AGAIN = 0.1
"""Seconds after which a write is repeated that no stream was there to take, as while a server starts."""

WRONG_LAST_SEQUENCE = 10071
NOT_READY = {10008, 10039, 10076, 10074}
"""What a server answers that may take the same write a little later: it has no leader, or is not yet up."""


class Refused(BrokerError):
    """The server refused the write; `code` is JetStream's."""

    code = 0


class _Confirmation(msgspec.Struct):
    seq: int = 0
    error: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Confirmation)


class _Write:
    __slots__ = ("answer", "data", "deadline", "headers", "reply", "subject")

    def __init__(self, subject: str, data: bytes, headers: dict[str, str], reply: str, deadline: float) -> None:
        self.subject = subject
        self.data = data
        self.headers = headers
        self.reply = reply
        self.deadline = deadline
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()


class Publisher:
    """Sends what is published at once, all of it again after an outage, and gives up at each write's deadline.

    The driver writes what came together in one go; the server drops a repetition by its id.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._writes: dict[str, _Write] = {}
        self._numbers = itertools.count()
        self._inbox = ""
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to take confirmations; needs a connection that is up."""
        self._inbox = f"_INBOX.{new_id()}"
        self._listener = await self._connection.listen(f"{self._inbox}.*", self._confirm)
        self._connection.on_up.append(self._repeat)

    async def stop(self) -> None:
        """Give up what is not confirmed."""
        if self._listener is not None:
            self._connection.on_up.remove(self._repeat)
            await self._connection.ignore(self._listener)
            self._listener = None
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        for write in self._writes.values():
            self._give_up(write)

    async def publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> int:
        """Write, and return the sequence in the stream once the server has confirmed it."""
        connection, loop = self._connection, asyncio.get_running_loop()
        token = f"{next(self._numbers):x}"
        headers = headers or {ID: new_id()}
        write = _Write(subject, data, headers, f"{self._inbox}.{token}", loop.time() + self._timeout)
        self._writes[token] = write
        if self._timer is None:
            self._timer = loop.call_at(write.deadline, self._expire)
        try:
            if connection.up.is_set():
                with suppress(BrokerUnavailable):  # the connection is lost, and when it is back all is repeated
                    await connection.publish(subject, data, write.reply, headers)
            return await write.answer
        finally:
            del self._writes[token]

    async def _confirm(self, message: Msg) -> None:
        write = self._writes.get(message.subject[len(self._inbox) + 1 :])
        if write is None or write.answer.done():
            return
        if not message.data:
            self._later()
            return
        answer = _decoder.decode(message.data)
        if answer.error is None:
            write.answer.set_result(answer.seq)
        elif answer.error.get("err_code") in NOT_READY:
            self._later()
        else:
            error = Refused(f"NATS refused a write to {write.subject}: {answer.error.get('description')}")
            error.code = answer.error.get("err_code", 0)
            write.answer.set_exception(error)

    def _later(self) -> None:
        if not self._tasks:
            self._spawn(AGAIN)

    def _repeat(self) -> None:
        self._spawn(0)

    def _spawn(self, delay: float) -> None:
        task = asyncio.get_running_loop().create_task(self._send_all(delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_all(self, delay: float) -> None:
        """Write everything unconfirmed again, in its order."""
        await asyncio.sleep(delay)
        for write in list(self._writes.values()):
            if not self._connection.up.is_set():
                return
            if not write.answer.done():
                with suppress(BrokerUnavailable):
                    await self._connection.publish(write.subject, write.data, write.reply, write.headers)

    def _expire(self) -> None:
        """Give up the writes whose time is over; the oldest stand first."""
        self._timer, now = None, asyncio.get_running_loop().time()
        for write in self._writes.values():
            if write.deadline > now:
                if not write.answer.done():
                    self._timer = asyncio.get_running_loop().call_at(write.deadline, self._expire)
                    return
            else:
                self._give_up(write)

    def _give_up(self, write: _Write) -> None:
        if not write.answer.done():
            what = f"a write to {write.subject} was not confirmed within {self._timeout:g} s"
            write.answer.set_exception(self._connection.unavailable(what))
