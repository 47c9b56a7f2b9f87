"""The consumers of a group as its owner sees them."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from aats_broker_nats.connection import Connection
from aats_broker_nats.window import Entry
from aats_broker_nats.wire import Deliver, Held, Lost, Notice, Released, encoder
from aats_core.errors import BrokerError
from aats_core.message import encode


class Seat(ABC):
    """A consumer: what it holds is `held`, by sequence; what is on its way to it is `coming`."""

    def __init__(self, consumer: str, prefetch: int) -> None:
        self.consumer = consumer
        self.prefetch = prefetch
        self.held: dict[int, Entry[Seat]] = {}
        self.coming = 0
        self.seen = math.inf

    @abstractmethod
    def hungry(self) -> bool:
        """Whether it takes another message."""

    @abstractmethod
    def deliver(self, entry: Entry[Seat]) -> None:
        """Give it a message."""

    @abstractmethod
    def lose(self, sequence: int) -> None:
        """Take a message from it, whose lease ran out."""

    @abstractmethod
    async def release(self) -> None:
        """Tell it that its owner goes; returns when that is sent."""


def told(entry: Entry[Seat]) -> Held:
    """Return what is said of a message that is handed out."""
    return Held(entry.sequence, entry.attempt, entry.topic, entry.key, entry.reply)


class RemoteSeat(Seat):
    """A consumer in another client, which is sent up to `prefetch` messages ahead."""

    def __init__(self, consumer: str, prefetch: int, inbox: str, connection: Connection) -> None:
        super().__init__(consumer, prefetch)
        self.seen = asyncio.get_running_loop().time()
        self._inbox = inbox
        self._connection = connection
        self._tasks: set[asyncio.Task[None]] = set()
        self._notices: list[Notice] = []

    def hungry(self) -> bool:
        """Whether fewer than `prefetch` are out."""
        return len(self.held) < self.prefetch

    def deliver(self, entry: Entry[Seat]) -> None:
        """Send a message."""
        assert entry.message is not None, "only what is in memory is handed out"
        self._tell(Deliver(self.consumer, told(entry), encode(entry.message)))

    def lose(self, sequence: int) -> None:
        """Tell it."""
        self._tell(Lost(self.consumer, sequence))

    async def release(self) -> None:
        """Tell it."""
        self._tell(Released(self.consumer))
        await asyncio.gather(*self._tasks)

    def _tell(self, notice: Notice) -> None:
        self._notices.append(notice)
        if len(self._notices) == 1:
            self._spawn(self._send())

    async def _send(self) -> None:
        try:
            while self._notices:
                await self._connection.publish(self._inbox, encoder.encode(self._notices[0]))
                del self._notices[0]
        except BrokerError:
            self._notices.clear()  # it joins again, and tells what it has

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
