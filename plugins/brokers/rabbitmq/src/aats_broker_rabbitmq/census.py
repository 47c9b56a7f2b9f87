"""Which groups there are, and what their consumers hold: clients ask each other what the server does not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from aats_broker_rabbitmq.context import Context
from aats_broker_rabbitmq.session import Session, close_channel, translated
from aats_broker_rabbitmq.shelf import Shelf
from aats_broker_rabbitmq.topology import CENSUS, GROUPS, GroupQueues
from aats_core.broker import GroupStatus

ANSWER_TO = "amq.rabbitmq.reply-to"
PATIENCE = 1.0
"""Seconds to wait for the answers of clients that the server says there are."""


class Count(msgspec.Struct, array_like=True):
    """What one consumer says: whom it consumes for, how many it fetched and how many of those are held."""

    topic: str
    group: str
    fetched: int
    held: int
    own: str = ""


_counts = msgspec.json.Decoder(list[Count])
_group = msgspec.json.Decoder(tuple[str, str])
Place = tuple[str, str]


class Census:
    """Answers what others ask, and asks them."""

    def __init__(self, context: Context, counts: Callable[[], Sequence[Count]]) -> None:
        self._context = context
        self._counts = counts
        self._shelf = Shelf(context.link, GROUPS, context.settings.timeout)

    async def answer(self, session: Session) -> None:
        """Begin to answer on a session."""
        async with translated("answering a census"):
            channel = await session.channel()

            async def tell(asked: DeliveredMessage) -> None:
                properties = asked.header.properties
                answer = msgspec.json.encode(self._counts())
                await channel.basic_publish(answer, routing_key=properties.reply_to or "", wait=False)

            queue = (await channel.queue_declare(exclusive=True, auto_delete=True)).queue or ""
            await channel.queue_bind(queue=queue, exchange=CENSUS)
            await channel.basic_consume(queue, tell, no_ack=True)

    async def take(self) -> dict[Place, GroupStatus]:
        """Return every group, with what waits on the server and in its consumers."""
        session = await self._context.link.ready(self._context.settings.timeout)
        told: list[Count] = []
        news = asyncio.Event()

        async def listen(message: DeliveredMessage) -> None:
            told.extend(_counts.decode(message.body))
            news.set()

        async with translated("a census"):
            channel = await session.channel()
            try:
                await channel.basic_consume(ANSWER_TO, listen, no_ack=True)
                await channel.basic_publish(
                    b"", exchange=CENSUS, properties=Basic.Properties(reply_to=ANSWER_TO), wait=False
                )
                found = await self._on_server(session)
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        while not _complete(found, told):
                            news.clear()
                            await news.wait()
                return await self._joined(session, found, told)
            finally:
                await close_channel(channel, self._context.settings.timeout)

    async def _on_server(self, session: Session) -> dict[Place, GroupStatus]:
        found: dict[Place, GroupStatus] = {}
        async with self._shelf.open() as (records, take):
            looker = _Looker(session)
            for record in records:
                place = _group.decode(record.body)
                if place in found:
                    take(record)
                    continue
                queues = GroupQueues(*place)
                status = await looker.look(place[1], [*queues.bands.values(), queues.keyed])
                if status is None:
                    take(record)
                else:
                    found[place] = status
            await looker.close()
        return found

    async def _joined(
        self, session: Session, found: dict[Place, GroupStatus], told: Sequence[Count]
    ) -> dict[Place, GroupStatus]:
        looker = _Looker(session)
        for count in told:
            place = (count.topic, count.group)
            if count.own:
                status = await looker.look(count.group, [count.own])
                if status is None:
                    continue
                found[place] = status
            if place in found:
                was = found[place]
                waiting = was.waiting + count.fetched - count.held
                found[place] = GroupStatus(was.name, was.consumers, waiting, was.held + count.held)
        await looker.close()
        return found


class _Looker:
    """Asks the server about queues; a queue that does not exist costs the channel."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._channel: Channel | None = None

    async def look(self, group: str, queues: Sequence[str]) -> GroupStatus | None:
        waiting = consumers = 0
        for queue in queues:
            if self._channel is None:
                self._channel = await self._session.channel()
            try:
                declared = await self._channel.queue_declare(queue=queue, passive=True)
            except ChannelNotFoundEntity:
                self._channel = None
                return None
            waiting += declared.message_count or 0
            consumers = max(consumers, declared.consumer_count or 0)
        return GroupStatus(group, consumers, waiting, 0)

    async def close(self) -> None:
        if self._channel is not None:
            await close_channel(self._channel, 5)


def _complete(found: dict[Place, GroupStatus], told: Sequence[Count]) -> bool:
    answers: dict[Place, int] = {}
    for count in told:
        answers[count.topic, count.group] = answers.get((count.topic, count.group), 0) + 1
    return all(answers.get(place, 0) >= status.consumers for place, status in found.items())
