"""What one process says to the server: concurrent calls of a kind travel together, and each awaits its own answer."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from hiredis import Reader

from aats_broker_redis.delivery import Fetched, Place
from aats_broker_redis.lasting import ended, lasting
from aats_broker_redis.link import Link
from aats_broker_redis.settings import RedisSettings
from aats_broker_redis.waker import Waker
from aats_core.batching import Batcher
from aats_core.errors import BrokerError, BrokerUnavailable

if TYPE_CHECKING:
    from aats_broker_redis.subscription import RedisSubscription

Header = tuple[str, str, int, int]
"""Of a message: its topic, its key with a sign before it or nothing, its priority, and when it is due."""
Operation = tuple[str | float, ...]
"""A way to settle a delivery, its group and stream, and what else the script wants to know."""

BATCH_BYTES = 4 * 1024 * 1024
"""A batch of messages to publish is not larger, unless it is a single one."""
REMEMBERED = 10
"""Timeouts for which the server remembers a client's last batch, so that its repetition does nothing."""
BEATS = 4
"""How often in the time of a lease the server hears that the consumers are alive."""

_pack = msgspec.msgpack.Encoder().encode


class Chunk(NamedTuple):
    """Messages that are published by one call, and the time of the event loop at which that gives up."""

    until: float
    headers: list[Header]
    data: list[bytes]


class Take(NamedTuple):
    """A consumer's wish for messages, which has a number, and whether an earlier one waits for its wake-up.

    Where it is `unsure`, the wish is for those messages that an answer or a wake-up it did not get had.
    """

    group: str
    consumer: str
    most: int
    number: int
    waits: bool
    unsure: bool


class Taken(NamedTuple):
    """Messages, each with its stream; none where the server does not know the consumer.

    Else when to ask again, and whether the wish `waits` for a wake-up now.
    """

    entries: list[Fetched] | None
    due: float | None = None
    waits: bool = False


class Client:
    """A connection of one process to the messages of a team, with all its consumers."""

    def __init__(self, settings: RedisSettings, root: str) -> None:
        self.lease = settings.lease
        self.link = Link(settings, root)
        self.id = os.urandom(12).hex()
        self._timeout = settings.timeout
        self._numbers = itertools.count(1)
        self._consumers: dict[str, RedisSubscription] = {}
        self._publishing: Batcher[Chunk, None] = Batcher(self._publish)
        self._consuming: Batcher[Operation | Take, Any] = Batcher(self._consume)
        self._waker = Waker(self.link, f"{root}wake:{self.id}", wake=self._wake, wake_all=self._wake_all)
        self._reader = Reader()
        self._beat_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect; raises `BrokerUnavailable` where that takes longer than the timeout."""
        await self.link.open()
        self._tasks = [
            asyncio.create_task(lasting("listening to Redis", self._waker.run)),
            asyncio.create_task(lasting("telling Redis that consumers live", self._beat)),
        ]
        try:
            async with asyncio.timeout(self._timeout):
                await self._waker.listening.wait()
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise BrokerUnavailable("Redis does not let this client listen to its channel") from error
            raise

    async def close(self) -> None:
        """Leave with all consumers, send what is buffered and disconnect."""
        await asyncio.gather(*(consumer.leave() for consumer in list(self._consumers.values())))
        await self._publishing.drain()
        await self._consuming.drain()
        await ended(*self._tasks)
        await self.link.close()

    async def publish(self, headers: list[Header], data: list[bytes]) -> None:
        """Publish messages in their order; returns when the server has them all."""
        await self._publishing.do(Chunk(self.until(), headers, data))

    async def settle(self, operation: Operation) -> None:
        """Settle a delivery; returns when the server knows."""
        await self._consuming.do(operation)

    async def take(self, wish: Take) -> Taken:
        """Return what is ready for a consumer; where nothing is, it is woken when something is."""
        taken: Taken = await self._consuming.do(wish)
        return taken

    async def join(self, consumer: RedisSubscription) -> None:
        """Register a consumer, which is known and kept alive from now on."""
        consumer.id = consumer.id or f"{self.id}.{next(self._numbers)}"
        began = self._now()
        arguments = consumer.topic, consumer.name, consumer.id, int(consumer.ephemeral)
        await self.link.run("join", *arguments, until=self.until())
        self._consumers[consumer.id] = consumer
        consumer.seen(began + self.lease)

    async def leave(self, consumer: RedisSubscription, tried: Sequence[Place]) -> None:
        """Take a consumer away, with what it tried; where the server is away too, it does that itself after a lease."""
        with suppress(BrokerError):
            await self.link.run("leave", consumer.group, consumer.id, _pack(tried), until=self.until())
        self._consumers.pop(consumer.id, None)

    def beat_now(self) -> None:
        """Ask at once which consumers the server still knows, and register the others again."""
        self._beat_wanted.set()

    def until(self) -> float:
        """Return the time of the event loop at which a call that begins now gives up."""
        return self._now() + self._timeout

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _wake(self, message: bytes) -> None:
        self._reader.feed(message)
        consumer, number, *found = self._reader.gets()
        if woken := self._consumers.get(consumer.decode()):
            woken.wake(int(number), _fetched(found))

    def _wake_all(self) -> None:
        for consumer in self._consumers.values():
            consumer.doubt()
            consumer.look()

    async def _publish(self, chunks: list[Chunk]) -> list[BaseException | None]:
        outcomes: list[BaseException | None] = []
        while len(outcomes) < len(chunks):
            part = _first(chunks[len(outcomes) :])
            head = self.id, next(self._numbers), round(self._timeout * REMEMBERED * 1000)
            headers = [header for chunk in part for header in chunk.headers]
            data = [message for chunk in part for message in chunk.data]
            outcome: BaseException | None = None
            try:
                await self.link.store("publish", *head, _pack(headers), *data, until=part[0].until)
            except BrokerError as error:
                outcome = error
            outcomes += [outcome] * len(part)
        return outcomes

    async def _consume(self, asked: list[Operation | Take]) -> list[Taken | BaseException | None]:
        """Settle and take in one step, so that the server has to write to its disk but once."""
        wishes = [one for one in asked if isinstance(one, Take)]
        settled = _pack(_grouped([one for one in asked if not isinstance(one, Take)]))
        until = self.until()
        taken: Iterable[Taken | BaseException]
        try:
            # Not repeated: messages that were handed out by an answer which got lost have to be asked for.
            answers = await self.link.run("consume", settled, _pack(wishes), until=until, repeat=not wishes)
            taken = map(_taken, answers)
        except BrokerUnavailable as error:
            if len(wishes) == len(asked):
                raise
            await self.link.run("consume", settled, _pack([]), until=until)
            taken = [error] * len(wishes)
        each = iter(taken)
        return [next(each) if isinstance(one, Take) else None for one in asked]

    async def _beat(self) -> None:
        while True:
            consumers = list(self._consumers.values())
            began = self._now()
            if consumers:
                alive = _pack([(consumer.id, consumer.group) for consumer in consumers])
                with suppress(BrokerError):
                    gone = await self.link.run("beat", alive, until=began + min(self._timeout, self.lease / 2))
                    await self._heard(consumers, {name.decode() for name in gone}, began)
            self._beat_wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + self.lease / BEATS):
                    await self._beat_wanted.wait()

    async def _heard(self, consumers: list[RedisSubscription], gone: set[str], began: float) -> None:
        for consumer in consumers:
            if consumer.id not in self._consumers:
                continue  # it left meanwhile
            if consumer.id in gone:
                consumer.forget()
                await self.join(consumer)
            else:
                consumer.seen(began + self.lease)


def _first(chunks: list[Chunk]) -> list[Chunk]:
    """Return as many chunks as make a batch."""
    size = 0
    for count, chunk in enumerate(chunks):
        size += sum(map(len, chunk.data))
        if size > BATCH_BYTES and count:
            return chunks[:count]
    return chunks


def _grouped(operations: list[Operation]) -> list[Sequence[Any]]:
    """Return the operations, with what is merely done in a stream as one."""
    done: dict[Operation, list[str | float]] = {}
    grouped: list[Sequence[Any]] = []
    for operation in operations:
        if operation[0] == "done":
            place = operation[:3]
            if place not in done:
                done[place] = []
                grouped.append((*place, done[place]))
            done[place].append(operation[3])
        else:
            grouped.append(operation)
    return grouped


def _taken(answer: list[Any]) -> Taken:
    if not answer:
        return Taken(None)
    if isinstance(answer[0], int):
        return Taken([], answer[0] / 1000 if answer[0] >= 0 else None, bool(answer[-1]))
    return Taken(_fetched(answer))


def _fetched(answer: list[Any]) -> list[Fetched]:
    levels, entries = answer[::2], answer[1::2]
    return [(level.decode(), entry) for level, found in zip(levels, entries, strict=True) for entry in found]
