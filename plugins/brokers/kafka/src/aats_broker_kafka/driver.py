"""The edge to aiokafka: requests of a client that its consumer does not offer, and its errors in our words."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from aiokafka import errors
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.conn import CloseReason
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from aats_broker_kafka.client import Client
from aats_broker_kafka.outage import Outage
from aats_broker_kafka.settings import KafkaSettings
from aats_core.errors import BrokerError, BrokerUnavailable

log = logging.getLogger(__name__)

EARLIEST, LATEST = -2, -1
FETCH_BYTES = 256 * 1024
BACKOFF = 0.05
"""Seconds before something is tried again."""

_LOOK = 1.0
"""Seconds in which an address where no Kafka answered is asked for the reason."""


class Record(Protocol):
    """A record of a partition, as the driver has it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Found(NamedTuple):
    """What a fetch found in a partition: its records, where the next begin, and where they end; or an error code."""

    records: list[Record]
    position: int
    end: int
    error: int = 0


class Refused(BrokerError):
    """The server answered with an error code."""

    def __init__(self, code: int, what: str) -> None:
        self.code = code
        kind = errors.for_code(code)
        super().__init__(f"{what}: Kafka answers {kind.__name__} ({code}): {kind.description or 'no description'}")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the driver's errors as ours."""
    try:
        yield
    except errors.MessageSizeTooLargeError as error:
        raise BrokerError(f"{what}: {error}") from error
    except (errors.KafkaError, OSError, TimeoutError) as error:
        if isinstance(error, errors.KafkaError) and not error.retriable and not isinstance(error, _AWAY):
            raise BrokerError(f"{what}: {type(error).__name__}: {error}") from error
        raise BrokerUnavailable(f"{what}: Kafka cannot be reached: {type(error).__name__}: {error}") from error


_AWAY = (errors.KafkaConnectionError, errors.KafkaTimeoutError, errors.NodeNotReadyError, errors.StaleMetadata)


class Driver:
    """One client with connections of its own: one to each node for plain requests, one for those of groups."""

    def __init__(self, settings: KafkaSettings, *, timeout: float | None = None) -> None:
        self._settings = settings
        self._outage = Outage()
        self._timeout = timeout or settings.timeout
        self._client: Any = None
        self._coordinators: dict[str, int] = {}

    def sibling(self, *, timeout: float | None = None) -> Driver:
        """Return another client, unconnected, which shares what this one knows of coordinators and says of outages."""
        other = Driver(self._settings, timeout=timeout)
        other._outage, other._coordinators = self._outage, self._coordinators
        return other

    @property
    def cluster(self) -> Any:
        """What is known of brokers, topics and leaders."""
        return self._client.cluster

    async def open(self) -> None:
        """Connect to one of the servers, trying until the timeout."""
        client = Client(self._settings, self._timeout)
        try:
            async with asyncio.timeout(self._settings.timeout):
                while True:
                    try:
                        await client.bootstrap()
                        break
                    except (errors.KafkaConnectionError, errors.NodeNotReadyError):
                        await asyncio.sleep(BACKOFF)
            self._client = client
            await self.refresh()
        except (errors.KafkaError, OSError, TimeoutError, BrokerUnavailable) as error:
            self._client = None
            await client.close()
            raise await self._unanswered() from error
        except BaseException:
            await client.close()
            raise

    async def _unanswered(self) -> BrokerUnavailable:
        settings = self._settings
        user = f" to {settings.user}" if settings.user else ""
        problems = await asyncio.gather(*(asyncio.to_thread(_unreachable, server) for server in settings.servers))
        return BrokerUnavailable(
            f"no Kafka answers{user} at {', '.join(settings.servers)} within {settings.timeout:g} s: is it running, "
            f"are address, user and TLS right? {'; '.join(filter(None, problems))}".rstrip()
        )

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def refresh(self) -> None:
        """Learn again which topics, partitions and leaders there are."""
        with translated("metadata"):
            if not await self._client.force_metadata_update():
                raise BrokerUnavailable("no broker of the cluster answers")

    def topics(self) -> dict[str, list[int]]:
        """Return the topics that are known, and their partitions."""
        cluster = self.cluster
        return {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 where it is not known."""
        return len(self.cluster.partitions_for_topic(topic) or ())

    async def send(
        self, node: int, request: Any, what: str, *, group: bool = False, within: float | None = None
    ) -> Any:
        """Send a request to a node and return the answer; hang up where none comes `within` so many seconds."""
        connection = ConnectionGroup.COORDINATION if group else ConnectionGroup.DEFAULT
        if self._client is None:
            raise BrokerUnavailable(f"{what}: the connection is closed")
        try:
            with translated(what):
                answer = await self._client.ask(node, request, connection, within)
        except KeyError as error:  # it closes a connection after a timeout, which somebody else has replaced
            raise BrokerUnavailable(f"{what}: no answer from node {node}") from error
        except BrokerUnavailable as error:
            if self._client is not None:
                self._outage.failed(node, error)
            raise
        self._outage.answered(node)
        return answer

    async def ask_coordinator(self, group: str, request: Any, what: str, *, within: float | None = None) -> Any:
        """Send a request to the coordinator of a group, looking it up where it is not known."""
        node = self._coordinators.get(group)
        if node is None:
            node = self._coordinators[group] = await self._find_coordinator(group, what, within)
        try:
            return await self.send(node, request, what, group=True, within=within)
        except BrokerUnavailable:
            self.forget_coordinator(group)
            raise

    async def _find_coordinator(self, group: str, what: str, within: float | None) -> int:
        if self._client is None:
            raise BrokerUnavailable(f"{what}: the connection is closed")
        node = self._client.get_random_node()
        answer = await self.send(node, FindCoordinatorRequest(group, CoordinationType.GROUP), what, within=within)
        if answer.error_code:
            raise _refusal(answer.error_code, what)
        found: int = answer.coordinator_id
        return found

    async def tell_coordinator(self, group: str, request: Any, what: str) -> Awaitable[Any]:
        """Hand a request to the operating system, which sends it even if this process dies; return its answer to be.

        Raises `BrokerUnavailable` where that cannot be done at once; the request may be on its way nevertheless.
        """
        node = self._coordinators.get(group)
        if node is None or self._client is None:
            raise BrokerUnavailable(f"{what}: the coordinator of {group} is not known")
        with translated(what):
            connection = await self._client._get_conn(node, group=ConnectionGroup.COORDINATION)  # noqa: SLF001
            # An answer that nobody read makes the system reset a killed process's connection, and lose what it sent.
            if connection is None or connection._requests:  # noqa: SLF001
                raise BrokerUnavailable(f"{what}: the connection to the coordinator is busy")
            answer: asyncio.Future[Any] = asyncio.ensure_future(connection.send(request))
            answer.add_done_callback(functools.partial(self._told, group, connection))
            if connection._writer.transport.get_write_buffer_size():  # noqa: SLF001
                raise BrokerUnavailable(f"{what}: the connection is slow")
        return answer

    def _told(self, group: str, connection: Any, answer: asyncio.Future[Any]) -> None:
        """Hang up on a coordinator that did not answer, whether or not somebody waits for that."""
        if not answer.cancelled() and answer.exception() is not None:
            self.forget_coordinator(group)
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)

    def forget_coordinator(self, group: str) -> None:
        """Look the coordinator of a group up again next time."""
        self._coordinators.pop(group, None)

    async def create_topic(self, topic: str, partitions: int, options: Mapping[str, str]) -> bool:
        """Create a topic, and tell whether it is new."""
        factor = self._settings.replication_factor
        request = CreateTopicsRequest(
            [(topic, partitions, factor, [], list(options.items()))], int(self._timeout * 1000), validate_only=False
        )
        node = self.cluster.controller.nodeId if self.cluster.controller else self._client.get_random_node()
        answer = await self.send(node, request, topic)
        code = answer.topic_errors[0][1]
        if code == errors.TopicAlreadyExistsError.errno:
            return False
        if code == errors.InvalidReplicationFactorError.errno:
            raise BrokerError(
                f"{topic}: replication_factor is {factor}, but the cluster has {len(self.cluster.brokers())} brokers;"
                " start more of them, or set replication_factor"
            )
        if code:
            raise _refusal(code, topic)
        return True

    def leader(self, place: TopicPartition) -> int | None:
        """Return the node that leads a partition, if one is known."""
        node = self.cluster.leader_for_partition(place)
        return None if node is None or node == -1 else node

    async def offsets(self, places: Iterable[TopicPartition], when: int) -> dict[TopicPartition, int]:
        """Return the earliest or the latest offset of partitions."""
        by_node: dict[int, dict[str, list[tuple[int, int]]]] = {}
        for place in places:
            node = self.leader(place)
            if node is None:
                await self.refresh()
                raise BrokerUnavailable(f"{place.topic}: partition {place.partition} has no leader")
            by_node.setdefault(node, {}).setdefault(place.topic, []).append((place.partition, when))
        found = {}
        for node, topics in by_node.items():
            answer = await self.send(node, OffsetRequest(-1, 0, list(topics.items())), "offsets")
            for topic, partitions in answer.topics:
                for partition, code, _, offset in partitions:
                    if code:
                        await self.refresh()
                        raise _refusal(code, topic)
                    found[TopicPartition(topic, partition)] = offset
        return found

    async def fetch(
        self, node: int, positions: Mapping[TopicPartition, int], *, wait: float
    ) -> dict[TopicPartition, Found]:
        """Read partitions that a node leads from their positions on, waiting up to `wait` seconds for a record."""
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for place, position in positions.items():
            topics.setdefault(place.topic, []).append((place.partition, position, FETCH_BYTES))
        request = FetchRequest(int(wait * 1000), 1, 16 * FETCH_BYTES, 0, list(topics.items()))
        answer = await self.send(node, request, "fetch", within=wait + self._settings.timeout)
        found = {}
        for topic, partitions in answer.topics:
            for partition, code, end, *_, data in partitions:
                place = TopicPartition(topic, partition)
                records, position = _records(place, data, positions[place]) if not code else ([], positions[place])
                found[place] = Found(records, position, end, code)
        return found


def _unreachable(server: str) -> str:
    """Say why nobody listens at an address, or nothing where somebody does: the driver does not pass that on."""
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK):
            return ""
    except OSError as error:
        return f"{server}: {error}"


def _records(place: TopicPartition, data: bytes, position: int) -> tuple[list[Record], int]:
    """Return the records from a position on, and the position after them; raises where their checksum is wrong."""
    found: list[Record] = []
    batches = MemoryRecords(data)
    while batches.has_next():
        batch: Any = batches.next_batch()
        if not batch.validate_crc():
            log.error("%s: partition %s is damaged on the way, after offset %s", *place, position)
            raise BrokerUnavailable(f"{place.topic}: what was read of partition {place.partition} is damaged")
        after = batch.next_offset
        if not batch.is_control_batch:
            found += [record for record in batch if record.offset >= position]
        position = max(position, after)
    return found, position


def _refusal(code: int, what: str) -> BrokerError:
    kind = errors.for_code(code)
    return BrokerUnavailable(f"{what}: {kind.__name__}") if kind.retriable else Refused(code, what)


__all__ = [
    "BACKOFF",
    "EARLIEST",
    "LATEST",
    "Driver",
    "Found",
    "Record",
    "Refused",
    "TopicPartition",
    "translated",
]
