"""A consumer: what it has fetched, what it holds, and for how long."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from types import TracebackType
from typing import Self

from aats_broker_redis.client import Client, Take
from aats_broker_redis.delivery import Fetched, Place, RedisDelivery, place
from aats_broker_redis.lasting import REST
from aats_core.broker import Subscription
from aats_core.errors import BrokerError, BrokerUnavailable, InvalidPayload

_log = logging.getLogger(__name__)

EVERY = 64
"""After so many deliveries that had not to be waited for, others get a turn on the event loop."""
PAUSE = 0.1
"""Seconds before another try where the server was away."""


class RedisSubscription(Subscription):
    """A consumer that fetches messages when it is asked for one and has none left.

    The server knows which messages the consumer has, and takes them away when it was not heard of for a lease.
    While it lives, it gives back by itself the deliveries that were not settled within their lease.
    """

    def __init__(self, client: Client, topic: str, group: str, *, prefetch: int, ephemeral: bool) -> None:
        self.topic = topic
        self.group = f"{topic}\0{group}"
        self.name = group
        self.ephemeral = ephemeral
        self.id = ""
        self.alive_until = 0.0
        self._client = client
        self._prefetch = prefetch
        self._open = False
        self._turns = 0
        self._fetched: deque[Fetched] = deque()
        self._held: dict[Place, RedisDelivery] = {}
        self._returns: dict[Place, tuple[str | float, ...]] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._wanted = asyncio.Event()
        self._unsure = False
        self._number = 0
        self._wishes: set[int] = set()
        """The numbers of the wishes that may wait for a wake-up, which brings messages."""
        self._fetching: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        self._lease_timer: asyncio.TimerHandle | None = None
        self._due_timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Register the consumer, and its group where there is none yet."""
        self._loop = asyncio.get_running_loop()
        self._open = True
        try:
            await self._client.join(self)
        except BaseException:
            self._open = False
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what is held; where the server is away, it does so itself after a lease."""
        await self.leave()

    async def leave(self) -> None:
        """End the iteration and give back what is held; leaving twice is harmless."""
        if not self._open:
            return
        self._open = False
        for timer in (self._lease_timer, self._due_timer):
            if timer is not None:
                timer.cancel()
        self.want()
        while self._waiters:
            _wake(self._waiters.popleft())
        for task in (self._fetching, self._returning):
            if task is not None:
                await asyncio.wait({task})
        await self._client.leave(self, [*self._held, *self._returns])
        self._fetched.clear()
        self._held.clear()

    async def __anext__(self) -> RedisDelivery:
        """Hand out the next message; the iteration ends once the subscription has been left."""
        if not self.id:
            raise BrokerError("a subscription has to be entered with `async with` before it delivers anything")
        self._turns += 1
        if not self._turns % EVERY:
            await asyncio.sleep(0)
        while self._open:
            now = self._loop.time()
            if not self._fetched or now >= self.alive_until:
                await self._arrival()
            elif (delivery := self._hand_out(now)) is not None:
                return delivery
        raise StopAsyncIteration

    async def settle(self, delivery: RedisDelivery, verb: str, *details: str | float) -> None:
        """Tell the server what became of a delivery, unless its lease is lost; it is held until that is confirmed."""
        if delivery.place not in self._held:
            return
        await self._client.settle((verb, self.group, *delivery.place, *details))
        if self._held.pop(delivery.place, None) is not None and not self._wishes:
            self.look()  # there was no room before

    def extend(self, delivery: RedisDelivery) -> None:
        """Start the lease of a delivery again."""
        if self._held.pop(delivery.place, None) is not None:
            delivery.expires = self._loop.time() + self._client.lease
            self._held[delivery.place] = delivery

    def want(self) -> None:
        """Look for messages, as there may be some now."""
        if self._fetching is None and self._open and self._waiters:
            self._fetching = asyncio.create_task(self._fetch())
        self._wanted.set()

    def wake(self, number: int, brought: list[Fetched]) -> None:
        """Take what was handed out for a wish that waited; one that was given up has been told that otherwise."""
        if number in self._wishes:
            self._wishes.discard(number)
            self._fetched.extend(brought)
            if brought:
                self._arrived()
            else:
                self.want()

    def doubt(self) -> None:
        """Ask next for all that was handed out, as an answer or a wake-up may have been lost."""
        self._unsure = True
        self._number += 1
        self._wishes.clear()

    def seen(self, until: float) -> None:
        """Note that the server counts on this consumer until that time of the event loop, at least."""
        self.alive_until = until
        if self._fetched:
            self._arrived()
        else:
            self.look()  # a wake-up may have been lost with a connection

    def look(self) -> None:
        """Look for messages where somebody waits for one; who does not shall not be handed what another could have."""
        if self._waiters:
            self.want()

    def forget(self) -> None:
        """Let go of all messages, which the server has taken away."""
        self._fetched.clear()
        self._held.clear()
        self._returns.clear()
        self.doubt()

    def _hand_out(self, now: float) -> RedisDelivery | None:
        level, entry = self._fetched.popleft()
        if not self._fetched:
            self.look()
        try:
            delivery = RedisDelivery(self, level, entry, now + self._client.lease)
        except (InvalidPayload, LookupError, ValueError) as error:
            _log.error("%s: what cannot be read becomes a dead letter: %s", self.topic, error)
            self._return(place(level, entry), "dead", f"it cannot be read: {error}", 0)
            return None
        self._held[delivery.place] = delivery
        if self._lease_timer is None:
            self._lease_timer = self._loop.call_at(delivery.expires, self._expire)
        return delivery

    async def _arrival(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self.want()
        try:
            await waiter
        except asyncio.CancelledError:
            self._arrived()  # it may have been woken for a message that another can have
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _arrived(self) -> None:
        for _ in range(min(len(self._fetched), len(self._waiters))):
            _wake(self._waiters.popleft())

    async def _fetch(self) -> None:
        """Fetch messages whenever they are wanted and none is left."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if not self._open:
                return
            room = self._prefetch - len(self._held) - len(self._fetched)
            if room > 0 and not self._fetched:
                try:
                    await self._take(room)
                except Exception as error:  # noqa: BLE001 - logged, and tried again
                    self.doubt()
                    self._wanted.set()
                    await self._rest_after(error)

    async def _take(self, room: int) -> None:
        known, unsure, waits = {*self._held, *self._returns}, self._unsure, bool(self._wishes)
        self._number = number = self._number + 1
        if not unsure:
            self._wishes.add(number)
        taken = await self._client.take(Take(self.group, self.id, room, number, waits, unsure))
        if number != self._number:
            self._wanted.set()  # in doubt since then, so that what came is asked for again
            return
        self._wishes &= {number} if taken.waits else set() if taken.entries else self._wishes - {number}
        if taken.entries is None:
            self._client.beat_now()
        elif unsure:
            self._unsure = False
            self._fetched.extend(one for one in taken.entries if place(*one) not in known)
            self.want()
        elif taken.entries:
            self._fetched.extend(taken.entries)
        elif taken.due is not None:
            if self._due_timer is not None:
                self._due_timer.cancel()
            self._due_timer = self._loop.call_later(taken.due, self.look)
        self._arrived()

    def _expire(self) -> None:
        """Take back the deliveries whose lease is over, oldest first."""
        self._lease_timer = None
        now = self._loop.time()
        for delivery in list(self._held.values()):
            if delivery.expires > now:
                self._lease_timer = self._loop.call_at(delivery.expires, self._expire)
                break
            del self._held[delivery.place]
            self._return(delivery.place, "back", 0, f"not settled within the lease of {self._client.lease:g} s")
        self.look()

    def _return(self, where: Place, verb: str, *details: str | float) -> None:
        """Have the server told what becomes of a message that nobody holds."""
        self._returns[where] = (verb, *details)
        if self._returning is None:
            self._returning = asyncio.create_task(self._give_back())

    async def _give_back(self) -> None:
        while self._returns and self._open:
            where, (verb, *details) = next(iter(self._returns.items()))
            try:
                await self._client.settle((verb, self.group, *where, *details))
                self._returns.pop(where, None)
            except Exception as error:  # noqa: BLE001 - logged, and tried again
                await self._rest_after(error)
        self._returning = None

    async def _rest_after(self, error: Exception) -> None:
        """Log what went wrong, and wait before another try; that a server is away is said elsewhere."""
        if isinstance(error, BrokerUnavailable):
            await asyncio.sleep(PAUSE)
        else:
            _log.error("%s: %s", self.topic, error, exc_info=error)
            await asyncio.sleep(REST)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
