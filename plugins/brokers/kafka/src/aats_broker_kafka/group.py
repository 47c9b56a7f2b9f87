"""One group as one client sees it: the partitions that are its to hand out, and the consumers it hands them to."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Iterator

from aats_broker_kafka.committer import Committer
from aats_broker_kafka.desk import Desk
from aats_broker_kafka.driver import Found, Record, TopicPartition
from aats_broker_kafka.membership import Membership, Owner
from aats_broker_kafka.offsets import Start, starts
from aats_broker_kafka.partition import HELD, LENT, SETTLED, Entry, Partition, State
from aats_broker_kafka.queue import Queue, Taker
from aats_broker_kafka.reader import Reader
from aats_broker_kafka.site import Site
from aats_broker_kafka.subscription import KafkaDelivery, KafkaSubscription
from aats_core.errors import BrokerError, BrokerUnavailable, InvalidPayload
from aats_core.message import decode, unreadable

log = logging.getLogger(__name__)

NOT_BEFORE = "not-before"
"""The header with the time before which a message is not delivered."""

CATCH_UP = 2.0
"""Seconds within which what waits in a new partition is looked through before the most urgent is handed out."""

AT_ONCE = 100
"""Messages handed out before others have a turn: their leases begin together, and handlers may take turns long."""

WATCH = 1.0
"""Seconds for which a message that was in hand when a client died is handled alone."""


class Group(Owner):
    """Hands out the messages of its partitions: each attempt is stored before its message leaves."""

    def __init__(self, site: Site, name: str, pattern: str) -> None:
        self.name = name
        self.pattern = pattern
        self.site = site
        self.settings = site.settings
        self.consumers: list[KafkaSubscription] = []
        self.partitions: dict[TopicPartition, Partition] = {}
        self.queue = Queue(self.wake)
        self._driver = site.driver.sibling(timeout=max(site.settings.timeout, site.settings.session) + 5)
        self._reader = Reader(self._driver, self._take)
        self.membership = Membership(site.settings, name, pattern, self, plain=site.driver, joining=self._driver)
        self._committer = Committer(self.membership, site.settings.timeout, self.wake)
        self.desk = Desk(site.settings, self.queue, self._committer, site.letters)
        self._runners: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self._woken = self._stopped = False
        self._behind: set[Partition] = set()
        self._watched: Entry | None = None

    # Life

    async def start(self) -> None:
        """Join the group; returns once this client has its share."""
        await self._driver.open()
        self._runners = [asyncio.create_task(self._reader.run()), asyncio.create_task(self.membership.run())]
        try:
            async with asyncio.timeout(self.settings.timeout + self.settings.session):
                await self.membership.settled.wait()
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                raise BrokerUnavailable(f"group {self.name}: no share of it came in time") from error
            raise

    async def stop(self) -> None:
        """Store what was done, leave the group, and let everything go."""
        self._stopped = True
        try:
            async with asyncio.timeout(self.settings.timeout / 2):
                if self.desk.tasks:
                    await asyncio.wait(self.desk.tasks)
                await self._committer.soon(self.partitions.values())
        except TimeoutError:
            log.warning("group %s: Kafka is away; messages in hand will come again", self.name)
        for task in (*self._runners, *self.desk.tasks):
            task.cancel()
        await asyncio.gather(*self._runners, *self.desk.tasks, return_exceptions=True)
        await self._committer.close()
        try:
            async with asyncio.timeout(self.settings.timeout / 2):
                await self.membership.leave()
        except (BrokerError, TimeoutError) as error:
            log.warning("group %s is left without a word: %s", self.name, error)
        self.lost()
        await self._driver.close()

    def add(self, consumer: KafkaSubscription) -> None:
        """Serve a consumer."""
        self.consumers.append(consumer)
        if len(self.consumers) > 1:
            self.membership.changed()

    async def remove(self, consumer: KafkaSubscription) -> None:
        """Serve a consumer no longer, and take back what it holds."""
        self.consumers.remove(consumer)
        await consumer.give_back_all()
        if self.consumers:
            self.membership.changed()

    # The partitions

    def count(self) -> int:
        """Return how many consumers there are."""
        return max(1, len(self.consumers))

    async def places(self) -> list[TopicPartition]:
        """Return all partitions of the topics that fit."""
        await self.site.driver.refresh()
        return self.site.topics.matching(self.pattern)

    def shared(self, generation: int) -> None:
        """Ask the other members anew who wants more than is theirs."""
        self.site.peers.shared(self, generation)
        self.wake()

    async def gained(self, places: set[TopicPartition]) -> None:
        """Begin with partitions where the group is in them."""
        found: dict[TopicPartition, Start] = await starts(self.site.driver, self.name, places)
        await self._driver.refresh()
        for place, start in found.items():
            if place not in self.membership.owned:
                continue  # lost while it was looked up
            part = self.partitions[place] = Partition(place, start.offset, start.note, start.end)
            if part.position < part.end:
                self._behind.add(part)
            self._reader.add(place, start.offset)
        asyncio.get_running_loop().call_later(CATCH_UP, self._caught_up)

    async def revoked(self, places: set[TopicPartition]) -> None:
        """Hand out no more of partitions, store what was done of them, and forget them."""
        parts = [self.partitions[place] for place in places if place in self.partitions]
        for part in parts:
            part.leaving = True
            self._reader.remove(part.place)
        if self.desk.tasks:
            await asyncio.wait(self.desk.tasks, timeout=self.settings.session / 2)
        for part in parts:
            self._lend_out(part)
        await self._committer.soon(parts)
        for part in parts:
            self.partitions.pop(part.place, None)
        self._drop(parts)

    def lost(self) -> None:
        """Forget all partitions, and with them what consumers hold of them."""
        parts = list(self.partitions.values())
        self.partitions.clear()
        for part in parts:
            self._reader.remove(part.place)
            for entry in list(part.open.values()):
                if entry.delivery is not None:
                    entry.delivery.drop()
        self._drop(parts)

    def _lend_out(self, part: Partition) -> None:
        """Say of what consumers hold that it is in their hands still, and take back what only lies ready for them."""
        for entry in list(part.open.values()):
            delivery = entry.delivery
            if delivery is None:
                continue
            if delivery.taken:
                entry.lent = self.site.peers.me
                delivery.source = self.site.peers.lender(self)
            else:
                delivery.drop()
                self.desk.untaken(delivery)

    def _drop(self, parts: Iterable[Partition]) -> None:
        for part in parts:
            self._behind.discard(part)
            self.queue.drop(part)
        self._press()

    # Reading

    def _take(self, place: TopicPartition, found: Found) -> int:
        """Take what was found, as far as there is room, and return where to go on."""
        part = self.partitions.get(place)
        if part is None:
            return found.position
        reached = found.position
        for record in found.records:
            if self._full():
                reached = record.offset
                break
            mark = part.marks.pop(record.offset, 0)
            part.position = record.offset + 1
            if mark != SETTLED and record.value is not None:
                self._admit(part, record, record.value, mark)
        part.position = reached
        if part in self._behind and part.position >= part.end:
            self._behind.discard(part)
        if found.records:
            self._press()
        self.wake()
        return reached

    def _admit(self, part: Partition, record: Record, value: bytes, mark: int) -> None:
        try:
            message, due, fault = decode(value), _due(record) if record.headers else 0.0, ""
        except (InvalidPayload, ValueError) as error:
            message, due, fault = unreadable(value), 0.0, str(error)
        entry = Entry(part, record.offset, message, record.timestamp, len(value) + 500)
        entry.key = None if record.key is None else record.key.decode(errors="replace")
        entry.due = max(due, part.delayed.get(record.offset, 0.0)) if part.delayed else due
        if mark:
            entry.attempts, entry.suspect = mark >> 2, bool(mark & HELD)
        if mark & LENT:
            entry.lent = "?"
            self.desk.keep_lent(entry)
        elif not fault and entry.attempts >= self.settings.max_attempts:
            fault = f"no consumer that it was handed to settled it, {entry.attempts} times"
        self.queue.add(entry, ready=not fault and not entry.lent)
        if fault:
            self.desk.begin_burial(entry, fault)

    def _press(self) -> None:
        """Ask for no more while there is too much, and again once half of it is settled."""
        queue, settings = self.queue, self.settings
        if not self._reader.paused:
            if self._full():
                self._reader.pause(paused=True)
                self._behind.clear()
        elif queue.count <= settings.window / 2 and queue.bytes <= settings.window_bytes / 2:
            self._reader.pause(paused=False)

    def _full(self) -> bool:
        return self.queue.count >= self.settings.window or self.queue.bytes >= self.settings.window_bytes

    def _caught_up(self) -> None:
        self._behind.clear()
        self.wake()

    # Handing out

    def wake(self) -> None:
        """Look what can be handed out, once all that is ready to run has had its turn."""
        if not self._woken and not self._stopped:
            self._woken = True
            self._loop.call_soon(self._loop.call_soon, self._hand_out)

    def _hand_out(self) -> None:
        self._woken = False
        self._press()
        if self._behind or self._stopped or self._watching():
            return
        batch: list[tuple[Entry, Taker]] = []
        for taker in itertools.islice(self._takers(), AT_ONCE):
            entry = self.queue.next()
            if entry is None:
                break
            if entry.suspect and not self._watch(entry, alone=not batch):
                break
            entry.part.attempt(entry)
            entry.lent = taker.client
            taker.expect()
            batch.append((entry, taker))
            if entry is self._watched:
                break
        if batch:
            self.desk.spawn(self._deliver(batch))
        elif not len(self.queue):
            self.site.peers.hunger(self, sum(max(0, consumer.want) for consumer in self.consumers))

    def _watching(self) -> bool:
        """Tell whether a message that may kill this client is in hand, and shall not take others with it."""
        entry = self._watched
        if entry is not None and entry.state in (State.MARKING, State.HELD):
            return asyncio.get_running_loop().time() < entry.until
        self._watched = None
        return False

    def _watch(self, entry: Entry, *, alone: bool) -> bool:
        """Hand a suspect out alone, and nothing else for a while; where others are in hand, wait a while for them."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not (alone and not any(consumer.holding for consumer in self.consumers)) and (
            not entry.until or now < entry.until
        ):
            if not entry.until:
                entry.until = now + WATCH
                loop.call_later(WATCH, self.wake)
            self.queue.put_back(entry)
            return False
        entry.suspect, entry.until, self._watched = False, now + WATCH, entry
        loop.call_later(WATCH, self.wake)
        return True

    def _takers(self) -> Iterator[Taker]:
        """Return who is next to be handed a message, taking turns; other clients are asked after our own."""
        if self.consumers:
            self.consumers.append(self.consumers.pop(0))
        wants = [itertools.repeat(consumer, max(0, consumer.want)) for consumer in self.consumers]
        turns = itertools.chain.from_iterable(itertools.zip_longest(*wants))
        return itertools.chain(filter(None, turns), iter(lambda: self.site.peers.hungry(self), None))

    async def _deliver(self, batch: list[tuple[Entry, Taker]]) -> None:
        parts = {entry.part for entry, _ in batch}
        if max([entry.attempts for entry, _ in batch]) > 1:
            await self._committer.soon(parts)
        else:
            await self._committer.sent(parts)
        for entry, taker in batch:
            if not entry.part.mine or entry.state != State.MARKING:
                taker.missed()
            elif isinstance(taker, KafkaSubscription):
                entry.state = State.HELD
                place = entry.part.place
                delivery = KafkaDelivery(
                    self.desk, place.topic, place.partition, entry.offset, entry.message, entry.attempts, entry
                )
                entry.delivery = delivery
                taker.put(delivery)
            else:
                self.desk.keep_lent(entry)
                self.site.peers.lend(self, entry)
        if len(batch) == AT_ONCE:
            self.wake()


def _due(record: Record) -> float:
    """Return the time before which a record is not delivered."""
    return next((float(value or b"") for name, value in record.headers if name == NOT_BEFORE), 0.0)
