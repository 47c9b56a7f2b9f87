"""Taking part in a group that another client owns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg

from aats_broker_nats.connection import Connection, Listener
from aats_broker_nats.parts import Parts
from aats_broker_nats.subscription import NatsSubscription
from aats_broker_nats.wire import (
    Answer,
    Command,
    Deliver,
    Held,
    Join,
    Leave,
    Lost,
    Ping,
    Settle,
    answers,
    encoder,
    notices,
)
from aats_core.batching import Batcher
from aats_core.errors import BrokerError, BrokerUnavailable
from aats_core.message import decode, new_id


class Mailbox:
    """The one subject where a client hears from the owners of its groups."""

    def __init__(self, connection: Connection) -> None:
        self.address = ""
        self.followers: dict[str, Follower] = {}
        self._connection = connection
        self._listener: Listener | None = None

    async def open(self) -> None:
        """Begin to listen."""
        self.address = f"_INBOX.{new_id()}"
        self._listener = await self._connection.listen(self.address, self._take)

    async def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            await self._connection.ignore(self._listener)
            self._listener = None

    async def _take(self, message: Msg) -> None:
        with suppress(msgspec.DecodeError):
            notice = notices.decode(message.data)
            if (follower := self.followers.get(notice.consumer)) is not None:
                follower.hear(notice)


class Follower:
    """What this client's consumers of one group say to the group's owner, and hear from it."""

    def __init__(self, group: str, parts: Parts, mailbox: Mailbox) -> None:
        self.released = asyncio.Event()
        self._subject = parts.names.commands(group)
        self._parts = parts
        self._mailbox = mailbox
        self._consumers: dict[str, NatsSubscription] = {}
        self._joining: set[asyncio.Task[None]] = set()
        self._batcher: Batcher[Command, Answer] = Batcher(self._send)

    async def open(self, consumers: Iterable[NatsSubscription]) -> bool:
        """Join with those consumers and what they hold; tells whether there is an owner."""
        for consumer in list(consumers):
            if not await self._join(consumer):
                return False
        return True

    async def close(self) -> None:
        """Hear no more."""
        for consumer in self._consumers:
            self._mailbox.followers.pop(consumer, None)
        for task in self._joining:
            task.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)

    def join(self, consumer: NatsSubscription) -> None:
        """Join with one more consumer."""

        async def work() -> None:
            if not await self._join(consumer):
                self.released.set()

        task = asyncio.get_running_loop().create_task(work())
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def leave(self, consumer: NatsSubscription) -> None:
        """Leave with a consumer; where the owner is gone, its leases run out."""
        self._consumers.pop(consumer.id, None)
        self._mailbox.followers.pop(consumer.id, None)
        if self._parts.connection.up.is_set():
            with suppress(BrokerError):
                await self._batcher.do(Leave(consumer.id, consumer.seen()))

    async def alive(self) -> bool:
        """Show signs of life, and tell whether the owner does and knows all consumers."""
        if self.released.is_set():
            return False
        try:
            given = await asyncio.gather(*(self._batcher.do(Ping(consumer)) for consumer in self._consumers))
        except BrokerUnavailable:
            return False
        return all(answer.known for answer in given)

    async def settle(self, consumer: NatsSubscription, claim: Held, how: str, delay: float, reason: str) -> bool:
        """Say what becomes of a delivery, and tell whether the owner heard it."""
        command = Settle(consumer.id, claim.sequence, claim.attempt, how, delay, reason)
        try:
            answer = await self._batcher.do(command)
        except BrokerUnavailable:
            return False
        if answer.error:
            raise BrokerUnavailable(answer.error)
        return answer.known

    def hear(self, notice: Deliver | Lost | object) -> None:
        """Take what the owner tells."""
        if isinstance(notice, Deliver) and (consumer := self._consumers.get(notice.consumer)) is not None:
            consumer.deliver(notice.held, decode(notice.data))
        elif isinstance(notice, Lost) and (consumer := self._consumers.get(notice.consumer)) is not None:
            consumer.lose(notice.sequence)
        else:
            self.released.set()

    async def _join(self, consumer: NatsSubscription) -> bool:
        self._consumers[consumer.id] = consumer
        self._mailbox.followers[consumer.id] = self
        held = [delivery.claim for delivery in consumer.held.values()]
        command = Join(consumer.id, self._mailbox.address, consumer.prefetch, held)
        try:
            await self._batcher.do(command)
        except BrokerUnavailable:
            return False
        return True

    async def _send(self, asked: list[Command]) -> Sequence[Answer]:
        raw = await self._parts.connection.request(
            self._subject, encoder.encode(asked), timeout=self._parts.settings.failover
        )
        return answers.decode(raw)
