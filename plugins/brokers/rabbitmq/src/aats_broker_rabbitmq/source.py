"""Where a consumer's messages come from, and to whom it hands over what it leaves behind."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from typing import ClassVar

import msgspec

from aats_broker_rabbitmq.context import Context
from aats_broker_rabbitmq.entry import Entry
from aats_broker_rabbitmq.intake import Intake
from aats_broker_rabbitmq.notes import Noted, Notes, write_notes
from aats_broker_rabbitmq.session import Session, translated
from aats_broker_rabbitmq.topology import (
    BANDS,
    DIRECT,
    GROUPS,
    KEYED,
    TOPIC,
    GroupQueues,
    band,
    declare_group,
    direct_to,
)

Arrived = Callable[[Entry], None]
Ended = Callable[[Intake], None]

AT_LEAST = 4
"""So many messages of a band are fetched even for a consumer that holds fewer, so that they can be put in order."""
AHEAD = 256
"""So many messages with keys are fetched at least: most of them may wait for the first."""
HEAD_START = 0.25
"""Seconds that a new consumer waits at most for what lies ready, so that the most urgent comes first."""


class Source(ABC):
    """The queues of one consumer; `shared` where its group may have others."""

    shared: ClassVar[bool] = True

    def __init__(self, context: Context, topic: str, group: str) -> None:
        self.context = context
        self.topic = topic
        self.group = group
        self.own = ""
        """The name of the queue that ends with its consumer."""
        self.label = f"group {group!r} of {topic}"

    @abstractmethod
    def open(self, session: Session, prefetch: int, arrived: Arrived, ended: Ended) -> AsyncIterator[Intake]:
        """Make sure that the queues exist, begin to consume, and yield each intake as it is opened."""

    @abstractmethod
    async def pause(self, intakes: Sequence[Intake], waiting: Sequence[Entry], idle: Sequence[Intake]) -> None:
        """Let others have what this consumer does not ask for, once its first intake has been stopped."""

    @abstractmethod
    async def resume(self, intakes: Sequence[Intake], *, few: bool = False) -> list[Intake]:
        """Consume again after a pause, and return the intakes that there are now."""

    @abstractmethod
    def queue_of(self, entry: Entry) -> str:
        """Return the queue to which a message is sent again."""

    @abstractmethod
    async def hand_over(self, intakes: Sequence[Intake], held: Sequence[Entry]) -> None:
        """Give back all that is unsettled, as it would be had it never been fetched; `held` was handed out."""


class GroupSource(Source):
    """The lasting queues of a group: those of the bands for all its consumers, that of the keys for one at a time."""

    def __init__(self, context: Context, topic: str, group: str) -> None:
        super().__init__(context, topic, group)
        self.queues = GroupQueues(topic, group)
        self._notes: Notes = {}
        self._opened: tuple[int, Arrived, Ended]
        self._noted: Noted

    async def open(self, session: Session, prefetch: int, arrived: Arrived, ended: Ended) -> AsyncIterator[Intake]:
        """Consume from the bands, most urgent first, and from the keys."""
        self._opened = prefetch, arrived, ended
        shared = Intake(session, sole=False, arrived=arrived)
        async with translated(self.label):
            await shared.start(ended)
        yield shared
        async with translated(self.label):
            waiting = await declare_group(shared.channel, self.queues, self.context.settings)
            record = msgspec.json.encode([self.topic, self.group])
            await self.context.publisher.publish("", GROUPS, record)
        window = await self._consume_bands(shared)
        yield await self._consume_keyed(session)
        expected = sum(min(waiting[queue], window) for queue in self.queues.bands.values())
        await shared.see(expected, HEAD_START)

    async def pause(self, intakes: Sequence[Intake], waiting: Sequence[Entry], idle: Sequence[Intake]) -> None:
        """Let others of the group have what `waiting` holds, and all of an `idle` intake."""
        shared, keyed = intakes
        async with asyncio.TaskGroup() as group:
            for entry in waiting:
                if entry.intake is shared:
                    group.create_task(self._post(entry))
        if keyed in idle and keyed.open:
            await write_notes(self.context, keyed, self.queues.notes, self._noted)
            await keyed.close(self.context.settings.timeout)

    async def resume(self, intakes: Sequence[Intake], *, few: bool = False) -> list[Intake]:
        """Consume again after a pause, and return the intakes that there are now."""
        shared, keyed = intakes
        await self._consume_bands(shared, few=few)
        if not keyed.open:
            keyed = await self._consume_keyed(shared.session)
        return [shared, keyed]

    async def _consume_bands(self, shared: Intake, *, few: bool = False) -> int:
        window = 1 if few else max(self._opened[0], AT_LEAST)
        async with translated(self.label):
            for queue in self.queues.bands.values():
                await shared.consume(queue, window)
        return window

    async def _consume_keyed(self, session: Session) -> Intake:
        prefetch, arrived, ended = self._opened
        self._noted = Noted(session, self.queues.notes, self._notes, arrived)
        keyed = Intake(session, sole=True, arrived=self._noted.arrived)
        async with translated(self.label):
            await keyed.start(ended)
            await keyed.consume(self.queues.keyed, max(prefetch, AHEAD))
        return keyed

    def queue_of(self, entry: Entry) -> str:
        """Return the queue of its band."""
        return self.queues.bands[band(entry.message.priority)]

    async def hand_over(self, intakes: Sequence[Intake], held: Sequence[Entry]) -> None:
        """Bury what has had its attempts, publish the rest again with its count, note that of what keeps its order."""
        shared, keyed = intakes
        await shared.stop()
        async with asyncio.TaskGroup() as group:
            for entry in held:
                if entry.attempts >= self.context.settings.max_attempts:
                    group.create_task(self.context.bury(entry, "its consumer left without settling it"))
        async with asyncio.TaskGroup() as group:
            for entry in list(shared.unsettled.values()):
                group.create_task(self._post(entry))
        if keyed.open:
            await write_notes(self.context, keyed, self.queues.notes, self._noted)

    async def _post(self, entry: Entry) -> None:
        due = entry.due if entry.wait() > 0 else 0.0
        routing_key = direct_to(self.queue_of(entry))
        await self.context.delays.publish(routing_key, entry.body, entry.headers(due), due)
        entry.intake.settle(entry)


class OwnSource(Source):
    """A queue that this consumer alone has, and that ends with it."""

    shared = False

    async def open(self, session: Session, prefetch: int, arrived: Arrived, ended: Ended) -> AsyncIterator[Intake]:
        """Consume from a new queue."""
        own = Intake(session, sole=True, arrived=arrived)
        async with translated(self.label):
            await own.start(ended)
        yield own
        async with translated(self.label):
            declared = await own.channel.queue_declare(exclusive=True, auto_delete=True)
            self.own = queue = declared.queue or ""
            exchange = TOPIC if "*" in self.topic else DIRECT
            for letter in (*BANDS.values(), KEYED):
                await own.channel.queue_bind(queue=queue, exchange=exchange, routing_key=f"{letter}.{self.topic}")
            await own.consume(queue, max(prefetch, AHEAD))

    async def pause(self, intakes: Sequence[Intake], waiting: Sequence[Entry], idle: Sequence[Intake]) -> None:
        """There are no others."""

    async def resume(self, intakes: Sequence[Intake], *, few: bool = False) -> list[Intake]:  # noqa: ARG002 - it has one
        """Go on as before."""
        return list(intakes)

    def queue_of(self, entry: Entry) -> str:  # noqa: ARG002 - it has one
        """Return its own queue; what comes back waits in the client, as nobody else could have it."""
        return self.own

    async def hand_over(self, intakes: Sequence[Intake], held: Sequence[Entry]) -> None:
        """Let the queue end with all that is in it."""
