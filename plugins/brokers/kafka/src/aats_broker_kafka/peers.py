"""How clients of one group help each other out: who has more messages than its consumers take lends some to others.

A partition has one owner, and there may be fewer partitions than consumers, or all consumers of an owner may be busy.
So a client without messages says what it wants, an owner lends it messages, and hears of it how they were settled. All
of this passes through the control topic, which every client reads. Nothing depends on it but speed: what is lost of it
comes back when its lease is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from aats_broker_kafka.driver import LATEST, Driver, Found, TopicPartition
from aats_broker_kafka.partition import Entry, State
from aats_broker_kafka.producer import Producer
from aats_broker_kafka.reader import Reader
from aats_broker_kafka.settings import KafkaSettings
from aats_broker_kafka.subscription import KafkaDelivery
from aats_core.broker import topic_matches
from aats_core.errors import BrokerUnavailable
from aats_core.message import decode, encode, new_id

if TYPE_CHECKING:
    from aats_broker_kafka.desk import Desk
    from aats_broker_kafka.group import Group

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds after which an owner that has not answered is asked again: the partition may have another by then."""


class Hungry(msgspec.Struct, frozen=True, tag=True):
    """A client could take so many messages, as of a generation of the group."""

    client: str
    generation: int
    want: int


class Lent(msgspec.Struct, frozen=True, tag=True):
    """A message for one client."""

    to: str
    topic: str
    partition: int
    offset: int
    attempt: int
    data: bytes


class Settle(msgspec.Struct, frozen=True, tag=True):
    """What a client has made of a message that it was lent."""

    client: str
    ref: str
    topic: str
    partition: int
    offset: int
    attempt: int
    how: str
    delay: float = 0.0
    reason: str = ""


class Settled(msgspec.Struct, frozen=True, tag=True):
    """The owner's answer to a `Settle`."""

    to: str
    ref: str


class Made(msgspec.Struct, frozen=True, tag=True):
    """A topic was made."""

    topic: str


Word = Hungry | Lent | Settle | Settled | Made

_decoder = msgspec.msgpack.Decoder(Word)


class Peer:
    """Another client of a group, and how many messages it wants."""

    def __init__(self, client: str, generation: int, want: int) -> None:
        self.client = client
        self.generation = generation
        self.want = want

    def expect(self) -> None:
        """Count a message that is about to be lent."""
        self.want -= 1

    def missed(self) -> None:
        """Count it back."""
        self.want += 1


class Table:
    """What one group's members know of each other's wants."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.peers: dict[str, Peer] = {}
        self.told = 0
        """What the others believe that this client wants."""


class Peers:
    """The control topic, as one client sees it."""

    def __init__(self, settings: KafkaSettings, control: str, producer: Producer, driver: Driver) -> None:
        self.me = new_id()
        self._settings = settings
        self._place = TopicPartition(control, 0)
        self._producer = producer
        self._driver = driver
        self._reader = Reader(self._driver, self._take)
        self._run: asyncio.Task[None] | None = None
        self._tables: dict[str, Table] = {}
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen; what was said before does not matter."""
        await self._driver.open()
        end = (await self._driver.offsets([self._place], LATEST))[self._place]
        self._reader.add(self._place, end)
        self._run = asyncio.create_task(self._reader.run())

    async def close(self) -> None:
        """Listen no longer."""
        tasks = [*self._tasks, *([self._run] if self._run else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._driver.close()

    def join(self, group: Group) -> None:
        """Take part in a group."""
        self._tables[group.name] = Table(group)

    def leave(self, group: Group) -> None:
        """Take part in a group no longer."""
        table = self._tables.pop(group.name, None)
        if table is not None and table.told:
            self._say(group.name, Hungry(self.me, group.membership.generation, 0))

    async def announce(self, topic: str) -> None:
        """Tell all clients of a new topic."""
        await self._producer.send(self._place.topic, msgspec.msgpack.encode(Made(topic)), key=b"")

    # What an owner does

    def shared(self, group: Group, generation: int) -> None:
        """Forget wants of before the group was shared out anew."""
        table = self._tables.get(group.name)
        if table is not None:
            table.told = 0
            table.peers = {name: peer for name, peer in table.peers.items() if peer.generation >= generation}

    def hungry(self, group: Group) -> Peer | None:
        """Return the client that wants most."""
        table = self._tables.get(group.name)
        wanting = [peer for peer in table.peers.values() if peer.want > 0] if table else []
        return max(wanting, key=lambda peer: peer.want, default=None)

    def lend(self, group: Group, entry: Entry) -> None:
        """Send a message, whose attempt is stored, to the client it is lent to."""
        place, data = entry.part.place, encode(entry.message)
        self._say(group.name, Lent(entry.lent, place.topic, place.partition, entry.offset, entry.attempts, data))

    async def _settle(self, group: Group, word: Settle) -> None:
        part = group.partitions.get(TopicPartition(word.topic, word.partition))
        if part is None or word.offset >= part.position:
            return
        entry = part.open.get(word.offset)
        if entry is not None and entry.lent and entry.attempts == word.attempt and entry.state == State.HELD:
            await self._do(group.desk, entry, word)
        elif entry is None:
            await group.desk.stored(part)
        self._say(group.name, Settled(word.client, word.ref))

    async def _do(self, desk: Desk, entry: Entry, word: Settle) -> None:
        if word.how == "ack":
            await desk.finish(entry)
        elif word.how == "nack":
            await desk.return_(entry, delay=word.delay, reason=word.reason)
        elif word.how == "reject":
            await desk.bury(entry, word.reason)
        elif word.how == "extend":
            entry.until = asyncio.get_running_loop().time() + self._settings.lease
        else:
            desk.take_back_uncounted(entry)

    # What the others do

    def hunger(self, group: Group, want: int) -> None:
        """Tell the others what this client wants, where they do not know."""
        table = self._tables.get(group.name)
        if table is not None and want > 2 * table.told:
            table.told = want
            self._say(group.name, Hungry(self.me, group.membership.generation, want))

    def lender(self, group: Group) -> Lender:
        """Return what settles messages that another client has lent."""
        return Lender(self, group.name)

    def _borrow(self, table: Table, word: Lent) -> None:
        table.told = max(0, table.told - 1)
        delivery = KafkaDelivery(
            self.lender(table.group), word.topic, word.partition, word.offset, decode(word.data), word.attempt
        )
        taker = next((consumer for consumer in table.group.consumers if consumer.want > 0), None)
        if taker is None:
            delivery.source.untaken(delivery)
        else:
            taker.expect()
            taker.put(delivery)

    async def settle(self, group: str, delivery: KafkaDelivery, how: str, delay: float = 0.0, reason: str = "") -> None:
        """Tell the owner what became of a message, and return once it has stored it."""
        ref = new_id()
        place = (delivery.topic, delivery.partition, delivery.offset, delivery.attempt)
        word = Settle(self.me, ref, *place, how, delay, reason)
        answer = self._answers[ref] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._settings.timeout):
                while not answer.done():
                    await self._send(group, word)
                    await asyncio.wait({answer}, timeout=PATIENCE)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{delivery.topic}: no member of group {group} has confirmed that the message is settled"
            ) from error
        finally:
            del self._answers[ref]

    def settle_later(self, group: str, delivery: KafkaDelivery, how: str) -> None:
        """Tell the owner what became of a message, without waiting."""
        self._spawn(self.settle(group, delivery, how))

    # The topic

    def _take(self, _: TopicPartition, found: Found) -> int:
        for record in found.records:
            group = (record.key or b"").decode()
            table = self._tables.get(group)
            if record.value is None or (group and table is None):
                continue
            try:
                word = _decoder.decode(record.value)
            except ValueError:  # of a version that says more than this one knows
                continue
            if table is not None:
                self._hear(table, word)
            elif isinstance(word, Made):
                self._look(word.topic)
        return found.position

    def _hear(self, table: Table, word: Word) -> None:
        if isinstance(word, Hungry):
            if word.client != self.me:
                table.peers[word.client] = Peer(word.client, word.generation, word.want)
                table.group.wake()
        elif isinstance(word, Lent):
            if word.to == self.me:
                self._borrow(table, word)
        elif isinstance(word, Settle):
            self._spawn(self._settle(table.group, word))
        elif isinstance(word, Settled) and (answer := self._answers.get(word.ref)) and not answer.done():
            answer.set_result(None)

    def _look(self, topic: str) -> None:
        for table in self._tables.values():
            if topic_matches(table.group.pattern, topic):
                table.group.membership.look()

    def _say(self, group: str, word: Word) -> None:
        self._spawn(self._send(group, word))

    async def _send(self, group: str, word: Word) -> None:
        await self._producer.send(self._place.topic, msgspec.msgpack.encode(word), key=group.encode())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("the other clients may not know: %s", error)


class Lender:
    """Settles messages of partitions that another client owns."""

    def __init__(self, peers: Peers, group: str) -> None:
        self._peers = peers
        self._group = group

    async def ack(self, delivery: KafkaDelivery) -> None:
        """Return once the owner has stored it."""
        await self._peers.settle(self._group, delivery, "ack")

    async def give_back(self, delivery: KafkaDelivery, *, delay: float, reason: str) -> None:
        """Return once the owner has it back."""
        await self._peers.settle(self._group, delivery, "nack", delay, reason)

    async def reject(self, delivery: KafkaDelivery, reason: str) -> None:
        """Return once it is a dead letter."""
        await self._peers.settle(self._group, delivery, "reject", 0.0, reason)

    async def extend(self, delivery: KafkaDelivery) -> None:
        """Return once the owner knows."""
        await self._peers.settle(self._group, delivery, "extend")

    def expired(self, delivery: KafkaDelivery, *, taken: bool) -> None:
        """Need nothing: the owner sees it too."""

    def untaken(self, delivery: KafkaDelivery) -> None:
        """Send it back."""
        self._peers.settle_later(self._group, delivery, "untaken")
