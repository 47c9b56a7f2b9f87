"""A group as one client takes part in it: as its owner, or under the owner in another client."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from aats_broker_nats.counter import Counter
from aats_broker_nats.follower import Follower, Mailbox
from aats_broker_nats.lease import Lease
from aats_broker_nats.owner import Owner
from aats_broker_nats.parts import Parts
from aats_broker_nats.subscription import LocalSeat, NatsSubscription
from aats_broker_nats.wire import Held
from aats_core.errors import BrokerError

log = logging.getLogger(__name__)

PAUSE = 0.1
"""Seconds before the next attempt to become the owner, where the last owner is silent but not yet given up."""


class Group:
    """The consumers of one group in this client.

    Durable groups have one owner among all clients: who holds the lease. An ephemeral group is its consumer's own.
    """

    def __init__(self, id: str, pattern: str, name: str, parts: Parts, mailbox: Mailbox, *, ephemeral: int = 0) -> None:
        self.id = id
        self.pattern = pattern
        self.name = name
        self.consumers: dict[str, NatsSubscription] = {}
        self._ephemeral = ephemeral
        self._parts = parts
        self._mailbox = mailbox
        self._lease = Lease(id, parts)
        self._leaving = False
        self._kick = asyncio.Event()
        self._changed = asyncio.Condition()
        self._owner: Owner | None = None
        self._seats: dict[str, LocalSeat] = {}
        self._follower: Follower | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the group exist on the server, and begin to take part in it."""
        await self._make()
        self._parts.connection.on_up.append(self._kick.set)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Take part no more; what this client held ready goes back to the server."""
        if self._task is None:
            return
        self._leaving = True
        self._kick.set()
        await self._task
        self._parts.connection.on_up.remove(self._kick.set)
        if self._ephemeral and self._parts.connection.up.is_set():
            with suppress(BrokerError):
                await self._parts.jetstream.delete_consumer(self.id)

    def join(self, consumer: NatsSubscription) -> None:
        """Add a consumer."""
        self.consumers[consumer.id] = consumer
        if self._owner is not None:
            self._sit(self._owner, consumer)
        elif self._follower is not None:
            self._follower.join(consumer)

    async def leave(self, consumer: NatsSubscription) -> None:
        """Take a consumer away with all that it holds."""
        del self.consumers[consumer.id]
        if self._owner is not None:
            self._seats.pop(consumer.id, None)
            self._owner.leave(consumer.id, consumer.seen())
        elif self._follower is not None:
            await self._follower.leave(consumer)

    def hungry(self) -> None:
        """Hear that a consumer waits for a message."""
        if self._owner is not None:
            self._owner.dispatch()

    async def settle(self, consumer: NatsSubscription, claim: Held, how: str, delay: float, reason: str) -> None:
        """Tell the owner what a consumer says of a delivery, whoever that is by the time it can be told."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._parts.settings.timeout
        while consumer.id in self.consumers and claim.sequence in consumer.held:
            if self._owner is not None:
                if how != "extend":
                    consumer.held.pop(claim.sequence, None)
                return await self._owner.settle(consumer.id, claim.sequence, claim.attempt, how, delay, reason)
            if self._follower is not None and await self._follower.settle(consumer, claim, how, delay, reason):
                if how != "extend":
                    consumer.held.pop(claim.sequence, None)
                return None
            if loop.time() >= deadline:
                raise self._parts.connection.unavailable(f"nobody took the {how} of a message of {claim.topic}")
            await asyncio.sleep(PAUSE / 2)
        return None

    async def _make(self) -> None:
        bound = self._ephemeral and self._ephemeral + self._parts.settings.read_ahead
        await self._parts.jetstream.make_consumer(self.id, self.pattern, self.name, ephemeral=bound)

    async def _run(self) -> None:
        again = False
        while not self._leaving:
            try:
                await self._until_up()
                if again and not self._leaving:
                    await self._make()
                again = True
                if self._leaving:
                    return
                if self._ephemeral or await self._lease.acquire():
                    await self._own()
                else:
                    await self._follow()
            except BrokerError as error:
                log.info("group %s of %s: %s", self.name, self.pattern, error)
            if not self._leaving:
                await self._pause(PAUSE)

    async def _own(self) -> None:
        owner = Owner(self.id, self.pattern, self._parts, bounded=bool(self._ephemeral))
        if not self._ephemeral:
            owner.valid_until = self._lease.valid_until
        counter = Counter(owner, self._parts)
        try:
            await owner.start()
            await counter.open()
            self._owner = owner
            for consumer in self.consumers.values():
                self._sit(owner, consumer)
            await self._stay(owner)
        finally:
            self._owner = None
            self._seats.clear()
            await counter.close()
            connected = self._parts.connection.up.is_set()
            await owner.retire(give_back=connected)
            if connected and not self._ephemeral:
                await self._lease.release()
            for seat in list(owner.seats.values()):
                await seat.release()

    async def _stay(self, owner: Owner) -> None:
        """Be the owner until that ends, or the last consumer has left."""
        again = False
        while not self._leaving:
            again = await self._pause(self._parts.settings.failover / 3) or again
            if self._leaving or not self._parts.connection.up.is_set():
                continue
            try:
                if not self._ephemeral:
                    if not await self._lease.renew():
                        return
                    owner.valid_until = self._lease.valid_until
                if again:
                    await self._make()
                    await owner.resume()
                    again = False
            except BrokerError as error:
                log.info("group %s of %s: %s", self.name, self.pattern, error)
            self._prune(owner)

    def _prune(self, owner: Owner) -> None:
        silent = asyncio.get_running_loop().time() - self._parts.settings.failover
        for seat in list(owner.seats.values()):
            if seat.seen < silent:
                owner.drop(seat)

    async def _follow(self) -> None:
        follower = Follower(self.id, self._parts, self._mailbox)
        try:
            if not await follower.open(self.consumers.values()):
                return
            self._follower = follower
            while not self._leaving and await follower.alive():
                again = await self._pause(self._parts.settings.failover / 3, follower.released)
                if again and not self._leaving:
                    await self._until_up()
                    if not await follower.open(self.consumers.values()):
                        return
        finally:
            self._follower = None
            await follower.close()

    def _sit(self, owner: Owner, consumer: NatsSubscription) -> None:
        seat = self._seats[consumer.id] = LocalSeat(consumer)
        owner.join(seat, [delivery.claim for delivery in consumer.held.values()])

    async def _until_up(self) -> None:
        while not self._leaving and not self._parts.connection.up.is_set():
            await self._pause(60.0)

    async def _pause(self, seconds: float, *events: asyncio.Event) -> bool:
        """Wait, but no longer than until the connection is up again, this client leaves, or an event happens."""
        if not any(event.is_set() for event in events):
            waiting = [asyncio.ensure_future(event.wait()) for event in (self._kick, *events)]
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
        kicked = self._kick.is_set()
        self._kick.clear()
        return kicked
