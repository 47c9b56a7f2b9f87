"""What is to be written to one partition: in order, a batch at a time, each once however often it is sent."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from aats_broker_kafka.driver import TopicPartition
from aats_core.errors import BrokerError

Headers = list[tuple[str, bytes]]


class Identity(NamedTuple):
    """Who writes: together with the number of a batch's first record it tells the server what it has already."""

    producer: int
    epoch: int


class Outgoing:
    """A record, and the event loop's time until which somebody waits for its confirmation."""

    __slots__ = ("confirmed", "headers", "key", "until", "value")

    def __init__(
        self, value: bytes | None, key: bytes | None, headers: Headers, until: float, confirmed: asyncio.Future[None]
    ) -> None:
        self.value = value
        self.key = key
        self.headers = headers
        self.until = until
        self.confirmed = confirmed

    def refuse(self, error: BrokerError) -> None:
        """Make who waits see an error."""
        if not self.confirmed.done():
            self.confirmed.set_exception(error)


class Lane:
    """The records for one partition that are not confirmed.

    A batch is sent again with the same numbers until the server has answered. When its time is over first, nobody
    knows whether it was written; what follows it is sent under another identity, for which numbers begin anew.
    """

    def __init__(self, place: TopicPartition) -> None:
        self.place = place
        self.waiting: deque[Outgoing] = deque()
        self.batch: list[Outgoing] = []
        """What was sent and is not confirmed."""
        self.data = b""
        """The batch as it is sent."""
        self.under_way = False
        self._identity: Identity | None = None
        self._number = 0
        self._alone = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.batch and not self.waiting

    @property
    def until(self) -> float:
        """When the time of the first record is over."""
        return (self.batch[0] if self.batch else self.waiting[0]).until

    def build(self, identity: Identity, size: int) -> None:
        """Make a batch of what waits, of so many bytes or one record, unless there is one."""
        if self.batch:
            return
        if self._identity is None:
            self._identity, self._number = identity, 0
        builder = DefaultRecordBatchBuilder(2, 0, 0, *self._identity, self._number, size)
        while self.waiting and not (self.batch and self._alone):
            record = self.waiting[0]
            if not record.confirmed.done():  # nobody waits for it any longer
                if builder.append(len(self.batch), None, record.key, record.value, record.headers) is None:
                    break
                self.batch.append(record)
            self.waiting.popleft()
        self.data = bytes(builder.build()) if self.batch else b""

    def confirm(self) -> None:
        """Tell everybody that the batch is written."""
        for record in self.batch:
            if not record.confirmed.done():
                record.confirmed.set_result(None)
        self._number = (self._number + len(self.batch)) & 0x7FFFFFFF
        self.batch = []

    def refuse(self, kind: type[BrokerError], why: str) -> None:
        """Tell everybody that the batch was not written."""
        for record in self.batch:
            record.refuse(kind(why))
        self.batch = []

    def split(self) -> None:
        """Send records alone from now on."""
        self._alone = True

    def begin_anew(self) -> None:
        """Send the batch again as something new, under the next identity."""
        self.waiting.extendleft(reversed(self.batch))
        self.batch = []
        self._identity = None


def expire(waiting: deque[Outgoing], now: float) -> list[Outgoing]:
    """Take the records whose time is over out of what waits."""
    expired = []
    while waiting and waiting[0].until <= now:
        expired.append(waiting.popleft())
    return expired
