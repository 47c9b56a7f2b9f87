"""Writing: each record once, in order, in time or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aats_broker_kafka import KafkaSettings
from aats_broker_kafka.driver import EARLIEST, LATEST, Driver, TopicPartition
from aats_broker_kafka.producer import Producer
from aiokafka.partitioner import DefaultPartitioner

from aats_core.errors import BrokerUnavailable, MessageTooLarge
from aats_core.message import new_id
from plugins.brokers.kafka.tests.conftest import QUICK
from tests.services.kafka import KafkaServer

PARTITIONS = 3


class Bench:
    """A producer of a new topic, whose requests a test can meddle with."""

    def __init__(self, server: KafkaServer, patch: pytest.MonkeyPatch, chosen: dict[str, Any]) -> None:
        self.settings = KafkaSettings(**{"servers": [server.url], **QUICK, **chosen})
        self.driver = Driver(self.settings)
        self.topic = f"producer.{new_id()}"
        self.producer = Producer(self.settings, self.driver)
        self.requests = 0
        self._patch = patch

    def meddle(self, spoil: Callable[[int], bool], *, sent: bool) -> None:
        """Lose the answers of requests, or the requests themselves, by their number."""
        send = self.driver.send

        async def lossy(node: int, request: Any, what: str, **options: Any) -> Any:
            if what != "publish":
                return await send(node, request, what, **options)
            self.requests += 1
            lost = spoil(self.requests)
            answer = await send(node, request, what, **options) if sent or not lost else None
            if lost:
                raise BrokerUnavailable("the answer is lost")
            return answer

        self._patch.setattr(self.driver, "send", lossy)

    async def hurry(self) -> None:
        """Have the producer give up what is sent from now on after a second."""
        await asyncio.sleep(0)  # until when it may take is found out once a turn of the event loop
        self._patch.setattr(self.producer, "_settings", self.settings.model_copy(update={"timeout": 1.0}))

    async def written(self) -> list[list[bytes]]:
        """Return what is in each partition."""
        reader = self.driver.sibling()
        await reader.open()
        try:
            return [await self._partition(reader, TopicPartition(self.topic, n)) for n in range(PARTITIONS)]
        finally:
            await reader.close()

    async def _partition(self, reader: Driver, place: TopicPartition) -> list[bytes]:
        position = (await reader.offsets([place], EARLIEST))[place]
        end = (await reader.offsets([place], LATEST))[place]
        values = []
        while position < end:
            node = reader.leader(place)
            assert node is not None
            found = (await reader.fetch(node, {place: position}, wait=0.1))[place]
            values += [record.value or b"" for record in found.records]
            position = found.position
        return values


Open = Callable[..., Any]


@pytest.fixture
def bench(server: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> Open:
    @asynccontextmanager
    async def open_bench(options: dict[str, str] | None = None, **chosen: Any) -> AsyncIterator[Bench]:
        made = Bench(server, monkeypatch, chosen)
        await made.producer.open()
        await made.driver.create_topic(made.topic, PARTITIONS, options or {})
        async with asyncio.timeout(60):
            try:
                yield made
            finally:
                await made.producer.close()

    return open_bench


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(start, start + count)]


def test_what_is_sent_again_for_want_of_an_answer_is_written_once_and_in_order(bench: Open) -> None:
    async def main() -> None:
        async with bench() as made:
            made.meddle(lambda number: number % 2 == 1, sent=True)
            for batch in range(5):
                await asyncio.gather(*(made.producer.send(made.topic, v, key=b"k") for v in numbered(20, 20 * batch)))
            assert made.requests >= 10
            assert sorted(await made.written()) == [[], [], numbered(100)]

    asyncio.run(main())


def test_what_is_refused_is_not_written_later_and_does_not_stop_what_follows(bench: Open) -> None:
    async def main() -> None:
        async with bench() as made:
            await made.producer.send(made.topic, b"before", key=b"k")
            with pytest.MonkeyPatch.context() as patch:
                made._patch = patch
                await made.hurry()
                made.meddle(lambda _: True, sent=False)
                with pytest.raises(BrokerUnavailable, match="the answer is lost"):
                    await made.producer.send(made.topic, b"refused", key=b"k")
            await made.producer.send(made.topic, b"after", key=b"k")
            assert sorted(await made.written()) == [[], [], [b"before", b"after"]]

    asyncio.run(main())


def test_what_follows_a_batch_in_doubt_is_written_under_another_identity(bench: Open) -> None:
    async def main() -> None:
        async with bench() as made:
            await made.producer.send(made.topic, b"before", key=b"k")
            first = made.producer._identity
            with pytest.MonkeyPatch.context() as patch:
                made._patch = patch
                await made.hurry()
                made.meddle(lambda _: True, sent=True)
                with pytest.raises(BrokerUnavailable):
                    await made.producer.send(made.topic, b"in doubt", key=b"k")
            await made.producer.send(made.topic, b"after", key=b"k")
            assert made.producer._identity != first
            assert sorted(await made.written()) == [[], [], [b"before", b"in doubt", b"after"]]

    asyncio.run(main())


def test_a_server_that_takes_no_batch_so_large_is_sent_its_records_one_by_one(bench: Open) -> None:
    async def main() -> None:
        async with bench({"max.message.bytes": "2000"}) as made:
            values = [bytes([number]) * 1000 for number in range(10)]
            await asyncio.gather(*(made.producer.send(made.topic, value, key=b"k") for value in values))
            with pytest.raises(MessageTooLarge):
                await made.producer.send(made.topic, bytes(3000), key=b"k")
            assert sorted(await made.written()) == [[], [], values]

    asyncio.run(main())


def test_a_key_goes_where_other_producers_send_it_and_what_has_none_goes_everywhere(bench: Open) -> None:
    async def main() -> None:
        async with bench() as made:
            keys = numbered(30)
            await asyncio.gather(*(made.producer.send(made.topic, key, key=key) for key in keys))
            numbers = list(range(PARTITIONS))
            places = [{key for key in keys if DefaultPartitioner()(key, numbers, numbers) == n} for n in numbers]
            assert [set(values) for values in await made.written()] == places
            for number in range(2 * PARTITIONS):
                await made.producer.send(made.topic, f"free {number}".encode())
            assert all(any(b"free" in value for value in values) for values in await made.written())

    asyncio.run(main())


def test_what_nobody_waits_for_any_longer_is_not_sent(bench: Open) -> None:
    async def main() -> None:
        async with bench() as made:
            given_up = made.producer.send(made.topic, b"given up", key=b"k")
            given_up.cancel()
            await made.producer.send(made.topic, b"wanted", key=b"k")
            assert sorted(await made.written()) == [[], [], [b"wanted"]]

    asyncio.run(main())


def test_closing_sends_what_waits_and_refuses_more(bench: Open) -> None:
    async def main() -> None:
        async with bench() as made:
            waiting = made.producer.send(made.topic, b"last", key=b"k")
            await made.producer.close()
            await waiting
            with pytest.raises(BrokerUnavailable, match="closed"):
                made.producer.send(made.topic, b"late")
            assert sorted(await made.written()) == [[], [], [b"last"]]

    asyncio.run(main())
