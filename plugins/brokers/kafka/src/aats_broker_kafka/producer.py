"""Writing: idempotent, confirmed by all replicas in sync, with one request under way to each node."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict, deque
from collections.abc import Iterable

from aiokafka import errors
from aiokafka.partitioner import murmur2
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from aats_broker_kafka.driver import BACKOFF, Driver, TopicPartition
from aats_broker_kafka.lane import Headers, Identity, Lane, Outgoing, expire
from aats_broker_kafka.settings import KafkaSettings
from aats_core.errors import BrokerError, BrokerUnavailable, MessageTooLarge

BATCH_BYTES = 256 * 1024
EVERYBODY = -1
"""All replicas in sync have to have a record before it is confirmed."""

_WRITTEN = {0, errors.DuplicateSequenceNumber.errno}
_UNKNOWN = {errors.OutOfOrderSequenceNumber.errno, errors.InvalidProducerEpoch.errno, 59}  # 59: UNKNOWN_PRODUCER_ID
_TOO_LARGE = {errors.MessageSizeTooLargeError.errno, 18}  # 18: RECORD_LIST_TOO_LARGE


class Producer:
    """Sends records and waits until all replicas in sync have them.

    What is asked for while a request is under way to a node travels in the next. Records without a key go where
    there is room. What is not confirmed within the timeout is sent no more.
    """

    def __init__(self, settings: KafkaSettings, driver: Driver) -> None:
        self._settings = settings
        self._driver = driver
        self._size = min(BATCH_BYTES, settings.max_message_bytes)
        self._identity: Identity | None = None
        self._new: defaultdict[str, deque[Outgoing]] = defaultdict(deque)
        """Records with a key that have no lane yet, by topic."""
        self._free: defaultdict[str, deque[Outgoing]] = defaultdict(deque)
        """Records without a key, by topic."""
        self._lanes: dict[TopicPartition, Lane] = {}
        self._due: dict[TopicPartition, Lane] = {}
        """The lanes with something to write."""
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._learning: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0
        self._until = 0.0
        """Until when what is asked for in this turn of the event loop may take."""
        self._woken = self._closed = False
        self._why = ""

    async def open(self) -> None:
        """Connect."""
        await self._driver.open()
        self._loop = asyncio.get_running_loop()

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None
    ) -> asyncio.Future[None]:
        """Write one record; what is returned raises `BrokerUnavailable` where that takes longer than the timeout."""
        if self._closed:
            raise BrokerUnavailable(f"{topic}: the broker is closed")
        self._wake()
        confirmed: asyncio.Future[None] = self._loop.create_future()
        pile = self._free if key is None else self._new
        pile[topic].append(Outgoing(value, key, headers or [], self._until, confirmed))
        return confirmed

    async def close(self) -> None:
        """Send what waits, for as long as the timeout, and close."""
        self._closed = True
        left = [record.confirmed for record in self._records()]
        if left:
            await asyncio.wait(left, timeout=self._settings.timeout)
        tasks = [*self._busy.values(), *([self._learning] if self._learning else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._timer:
            self._timer.cancel()
        for record in self._records():
            record.refuse(BrokerUnavailable("the broker is closed"))
        await self._driver.close()

    def _records(self) -> list[Outgoing]:
        piles: list[Iterable[Outgoing]] = [*self._new.values(), *self._free.values()]
        for lane in self._due.values():
            piles += [lane.batch, lane.waiting]
        return [record for pile in piles for record in pile if not record.confirmed.done()]

    # Placing

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._until = self._loop.time() + self._settings.timeout
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Give work to every node that has none."""
        self._woken = False
        self._expire()
        ignorant = self._place()
        by_node: dict[int, list[Lane]] = {}
        for lane in self._due.values():
            node = self._driver.leader(lane.place)
            if node is None:
                ignorant = True
            elif node not in self._busy and not lane.under_way:
                by_node.setdefault(node, []).append(lane)
        for topic in list(self._free):
            ignorant |= self._place_freely(topic, by_node)
        for node, lanes in by_node.items():
            for lane in lanes:
                lane.under_way = True
            self._busy[node] = asyncio.create_task(self._round(node, lanes))
        if ignorant and self._learning is None:
            self._learning = asyncio.create_task(self._learn())
        if (self._due or self._new or self._free) and self._timer is None:
            self._timer = self._loop.call_later(self._settings.timeout / 10, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._look()

    def _place(self) -> bool:
        """Sort what has a key by its partitions, and tell whether those of a topic are not known."""
        for topic in list(self._new):
            if count := self._driver.partitions(topic):
                for record in self._new.pop(topic):
                    self._lane(TopicPartition(topic, _hash(record.key) % count)).waiting.append(record)
        return bool(self._new)

    def _place_freely(self, topic: str, by_node: dict[int, list[Lane]]) -> bool:
        """Put what has no key where it can be sent at once, and tell whether no leader is known."""
        count = self._driver.partitions(topic)
        leaderless = True
        for step in range(count):
            place = TopicPartition(topic, (self._turn + step) % count)
            node = self._driver.leader(place)
            leaderless = leaderless and node is None
            if node is None or node in self._busy or ((lane := self._lanes.get(place)) and lane.under_way):
                continue
            self._turn += 1
            lane = self._lane(place)
            lane.waiting.extend(self._free.pop(topic))
            if lane not in by_node.setdefault(node, []):
                by_node[node].append(lane)
            return False
        return leaderless

    def _lane(self, place: TopicPartition) -> Lane:
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(place)
        self._due[place] = lane
        return lane

    def _expire(self) -> None:
        """Give up what waits for too long."""
        now = self._loop.time()
        expired: list[Outgoing] = []
        for lane in self._due.values():
            if not lane.under_way:
                if lane.batch and lane.batch[0].until <= now:
                    self._begin_anew(lane)
                expired += expire(lane.waiting, now)
        for piles in (self._new, self._free):
            expired += [record for pile in piles.values() for record in expire(pile, now)]
            for topic in [topic for topic, pile in piles.items() if not pile]:
                del piles[topic]
        for record in expired:
            record.refuse(
                BrokerUnavailable(f"Kafka did not confirm a message within {self._settings.timeout:g} s{self._why}")
            )
        self._due = {place: lane for place, lane in self._due.items() if lane.under_way or not lane.empty}

    def _begin_anew(self, lane: Lane) -> None:
        self._identity = None
        lane.begin_anew()

    # Sending

    async def _round(self, node: int, lanes: list[Lane]) -> None:
        """Send one request, and go on with what became of it."""
        try:
            codes = await self._ask(node, lanes)
            again = False
            for lane in lanes:
                again |= self._settle(lane, codes.get(lane.place))
                lane.under_way = False
            if again:
                self._wake()  # what is too late learns of it now
                await self._refresh()
        finally:
            del self._busy[node]
            self._wake()

    async def _ask(self, node: int, lanes: list[Lane]) -> dict[TopicPartition, int]:
        """Return the server's answers by partition; none where there are none in time."""
        try:
            async with asyncio.timeout_at(min(lane.until for lane in lanes)):
                if self._identity is None:
                    self._identity = await self._identify(node)
                for lane in lanes:
                    lane.build(self._identity, self._size)
                if not any(lane.batch for lane in lanes):
                    return {}
                answer = await self._driver.send(node, self._request(lanes), "publish")
        except (BrokerError, TimeoutError) as error:
            self._why = f": {error}" if isinstance(error, BrokerError) else ""
            return {}
        return {TopicPartition(topic, found[0]): found[1] for topic, parts in answer.topics for found in parts}

    async def _identify(self, node: int) -> Identity:
        answer = await self._driver.send(node, InitProducerIdRequest(None, 0), "producer id")
        if answer.error_code:
            raise BrokerUnavailable(f"no producer id: {errors.for_code(answer.error_code).__name__}")
        return Identity(answer.producer_id, answer.producer_epoch)

    def _request(self, lanes: list[Lane]) -> ProduceRequest:
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for lane in lanes:
            if lane.batch:
                topics.setdefault(lane.place.topic, []).append((lane.place.partition, lane.data))
        return ProduceRequest(None, EVERYBODY, int(self._settings.timeout * 500), list(topics.items()))

    def _settle(self, lane: Lane, code: int | None) -> bool:
        """Tell those who wait for a batch what became of it, and whether it has to be sent again after a pause."""
        if not lane.batch:
            return False
        if code in _WRITTEN:
            lane.confirm()
            return False
        topic = lane.place.topic
        kind = None if code is None else errors.for_code(code)
        if code in _UNKNOWN:
            self._begin_anew(lane)
        elif code in _TOO_LARGE and len(lane.batch) > 1:
            lane.split()
            self._begin_anew(lane)
        elif code in _TOO_LARGE:
            lane.refuse(MessageTooLarge, f"{topic}: the server does not take {len(lane.data)} bytes")
        elif kind is not None and not kind.retriable:
            lane.refuse(BrokerError, f"{topic}: Kafka answers {kind.__name__}")
        elif kind is not None:
            self._why = f": {kind.__name__}"
        return not lane.empty

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout / 2):
                await self._driver.refresh()
        except (BrokerError, TimeoutError) as error:
            self._why = f": {error}" if isinstance(error, BrokerError) else ""
        await asyncio.sleep(BACKOFF)

    async def _learn(self) -> None:
        """Learn of topics and leaders."""
        try:
            await self._refresh()
        finally:
            self._learning = None
            self._wake()


@functools.lru_cache(maxsize=4096)
def _hash(key: bytes) -> int:
    """Return what Kafka's own producers take a record's partition from."""
    found: int = murmur2(key) & 0x7FFFFFFF
    return found
