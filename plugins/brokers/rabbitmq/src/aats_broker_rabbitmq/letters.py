"""The messages that nobody could handle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiormq.abc import DeliveredMessage

from aats_broker_rabbitmq.context import LETTER, REASON, TIME, TRIED, Context
from aats_broker_rabbitmq.entry import ATTEMPTS, KEY, TOPIC
from aats_broker_rabbitmq.shelf import Shelf
from aats_broker_rabbitmq.topology import DEAD, FANOUT, route
from aats_core.broker import DeadLetter, topic_matches
from aats_core.errors import InvalidPayload, InvalidRequest
from aats_core.message import Message, decode, encode, unreadable


class DeadLetters:
    """The dead letters of all topics lie in one queue."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._shelf = Shelf(context.link, DEAD, context.settings.timeout)

    async def all(self) -> list[DeadLetter]:
        """Return every dead letter, oldest first."""
        async with self._shelf.open() as (found, _):
            return [_letter(message) for message in found]

    async def of(self, topic: str) -> list[DeadLetter]:
        """Return the dead letters of a topic or pattern, oldest first."""
        return [letter for letter in await self.all() if topic_matches(topic, letter.topic)]

    async def replay(self, topic: str, ids: Sequence[str], edited: Message | None) -> int:
        """Publish letters again and take them out once that is confirmed."""
        if edited is not None and len(ids) != 1:
            raise InvalidRequest(f"{topic}: an edited message replaces one dead letter, {len(ids)} are named")
        async with self._shelf.open() as (found, take):
            chosen = _chosen(found, topic, ids)
            outgoing = []
            for message, letter in chosen:
                key = _headers(message).get(KEY)
                headers = {KEY: key} if key is not None else None
                again = edited or letter.message
                outgoing.append((FANOUT, route(letter.topic, again.priority, key), encode(again), headers))
            await self._context.publisher.publish_all(outgoing)
            for message, _ in chosen:
                take(message)
        return len(chosen)

    async def purge(self, topic: str, ids: Sequence[str] | None) -> int:
        """Take letters out, all of the topic where no ids are given."""
        async with self._shelf.open() as (found, take):
            chosen = _chosen(found, topic, ids)
            for message, _ in chosen:
                take(message)
        return len(chosen)


def _chosen(
    found: Sequence[DeliveredMessage], topic: str, ids: Sequence[str] | None
) -> list[tuple[DeliveredMessage, DeadLetter]]:
    wanted = None if ids is None else set(ids)
    letters = [(message, _letter(message)) for message in found]
    return [
        (message, letter)
        for message, letter in letters
        if topic_matches(topic, letter.topic) and (wanted is None or letter.id in wanted)
    ]


def _headers(message: DeliveredMessage) -> dict[str, Any]:
    properties: Any = message.header.properties
    return properties.headers or {}


def _letter(message: DeliveredMessage) -> DeadLetter:
    headers = _headers(message)
    try:
        carried = decode(message.body)
    except InvalidPayload as error:
        carried = unreadable(message.body)
        headers = {REASON: str(error), **headers}
    death = (headers.get("x-death") or [{}])[0]  # where the server gave it up, it says so there
    at = death.get("time")
    return DeadLetter(
        id=headers.get(LETTER) or carried.id,
        topic=headers.get(TOPIC) or (message.routing_key or "")[2:],
        message=carried,
        reason=headers.get(REASON) or f"given up by RabbitMQ: {death.get('reason', 'unknown')}",
        attempts=headers.get(TRIED) or headers.get(ATTEMPTS, 0) + headers.get("x-delivery-count", 0),
        time=float(headers.get(TIME) or (at.timestamp() if at else carried.timestamp)),
    )
