"""Groups across processes, and what else is this broker's own."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
import time

import pytest
from aats_broker_nats import stock
from aats_broker_nats.wire import headers

from aats_core.errors import BrokerError, MessageTooLarge
from aats_core.health import HealthStatus
from plugins.brokers.nats.tests.conftest import connected, number, receive
from tests.services import NatsServer

pytestmark = pytest.mark.integration

QUICK = {"lease": 2, "failover": 1}

DOOMED = """
import asyncio, sys
from aats_broker_nats import NatsBroker, NatsSettings

async def main():
    broker = NatsBroker(NatsSettings(servers=[sys.argv[1]], lease=2, failover=1))
    await broker.connect()
    subscription = await broker.subscribe(sys.argv[2], "g", prefetch=int(sys.argv[3])).__aenter__()
    while True:
        delivery = await anext(subscription)
        print(delivery.message.read(int), delivery.attempt, flush=True)
        if delivery.message.read(int):
            await delivery.ack()

asyncio.run(main())
"""


@pytest.fixture
def server(service) -> NatsServer:
    found: NatsServer = service(NatsServer)
    return found


@pytest.fixture
def topic() -> str:
    return f"own.{os.getpid()}-{time.time_ns()}"


async def doomed(server: NatsServer, topic: str, prefetch: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DOOMED, server.url, topic, str(prefetch)), stdout=asyncio.subprocess.PIPE
    )


async def kill(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def heard(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


def test_the_group_goes_on_after_its_owner_was_killed(server, topic) -> None:
    async def main() -> None:
        async with connected(server, **QUICK) as broker:
            async with broker.subscribe(topic, "g"):
                pass
            for value in range(20):
                await broker.publish(topic, number(value), key="k" if value % 2 else None)
            process = await doomed(server, topic, 1)
            assert await heard(process) == "0 1"
            async with broker.subscribe(topic, "g") as subscription:
                await kill(process)
                found = []
                while len(found) < 20:
                    delivery = await receive(subscription)
                    found.append(delivery.message.read(int))
                    assert delivery.attempt == 2 or delivery.message.read(int) != 0
                    await delivery.ack()
        assert sorted(found) == list(range(20))
        assert [value for value in found if value % 2] == list(range(1, 20, 2))

    asyncio.run(main())


def test_a_consumer_in_another_process_that_is_killed_gives_back_what_it_held(server, topic) -> None:
    async def main() -> None:
        async with connected(server, **QUICK) as broker, broker.subscribe(topic, "g", prefetch=1) as subscription:
            process = await doomed(server, topic, 1)
            while (await broker.topics())[-1:] and not [
                group
                for status in await broker.topics()
                if status.topic == topic
                for group in status.groups
                if group.consumers == 2
            ]:
                await asyncio.sleep(0.05)
            await broker.publish(topic, number(0))
            assert await heard(process) == "0 1"
            await kill(process)
            again = await receive(subscription)
            assert (again.message.read(int), again.attempt) == (0, 2)

    asyncio.run(main())


def test_a_poison_message_that_kills_its_consumers_takes_no_other_with_it(server, topic) -> None:
    async def main() -> None:
        async with connected(server, max_attempts=5, **QUICK) as broker:
            async with broker.subscribe(topic, "g"):
                pass
            await broker.publish(topic, number(0, priority=1))
            for value in range(1, 10):
                await broker.publish(topic, number(value))
            found: dict[int, int] = {}
            for attempt in range(1, 6):
                process = await doomed(server, topic, 1)
                while (line := await heard(process)) != f"0 {attempt}":
                    found[int(line.split()[0])] = int(line.split()[1])
                await kill(process)
            async with broker.subscribe(topic, "g") as subscription:
                while len(found) < 9:
                    delivery = await receive(subscription)
                    found[delivery.message.read(int)] = delivery.attempt
                    await delivery.ack()
                async with asyncio.timeout(10):
                    while not (letters := await broker.dead_letters(topic)):
                        await asyncio.sleep(0.05)
        assert set(found) == set(range(1, 10))
        assert max(found.values()) <= 2, "waiting beside a poison message was counted again and again"
        assert [(letter.message.read(int), letter.attempts) for letter in letters] == [(0, 5)]

    asyncio.run(main())


def test_a_message_for_much_later_waits_on_the_server_and_keeps_its_attempts(server, topic, monkeypatch) -> None:
    monkeypatch.setattr(stock, "NEAR", 0.05)

    async def main() -> None:
        async with connected(server) as broker, broker.subscribe(topic, "g") as subscription:
            due = time.time() + 0.6
            await broker.publish(topic, number("later"), key="k", not_before=due)
            await broker.publish(topic, number("behind it"), key="k")
            delivery = await receive(subscription)
            assert time.time() >= due
            assert (delivery.message.read(str), delivery.attempt) == ("later", 1)
            await delivery.nack(delay=0.2)
            again = await receive(subscription)
            assert (again.message.read(str), again.attempt) == ("later", 2)
            await again.ack()
            assert (await receive(subscription)).message.read(str) == "behind it"

    asyncio.run(main())


def test_the_same_message_may_be_published_and_replayed_again(server, topic) -> None:
    async def main() -> None:
        async with connected(server) as broker, broker.subscribe(topic, "g") as subscription:
            message = number("twice")
            await broker.publish(topic, message)
            await broker.publish(topic, message)
            for _ in range(2):
                await (await receive(subscription)).reject(reason="no")
            for _ in range(2):
                letters = await broker.dead_letters(topic)
                assert await broker.replay(topic, [letter.id for letter in letters]) == 2
                for _ in range(2):
                    delivery = await receive(subscription)
                    assert (delivery.message.id, delivery.attempt) == (message.id, 1)
                    await delivery.reject(reason="still no")

    asyncio.run(main())


@pytest.mark.parametrize("key", [None, "k"])
def test_what_cannot_be_read_becomes_a_dead_letter_and_the_consumer_goes_on(server, topic, key) -> None:
    async def main() -> None:
        junk = b"\xff is no message"
        async with connected(server) as broker, broker.subscribe(topic, "g") as subscription:
            parts = broker._parts
            await parts.publisher.publish(parts.names.message(topic), junk, headers(key, None))
            await broker.publish(topic, number("next"), key=key)
            assert (await receive(subscription)).message.read(str) == "next"
            while not (letters := await broker.dead_letters(topic)):
                await asyncio.sleep(0.01)
            (letter,) = letters
            assert letter.message.type == "unreadable"
            assert base64.b64decode(letter.message.read(dict)["base64"]) == junk
            assert "cannot be read: not a message" in letter.reason
            assert letter.attempts == 0

    asyncio.run(main())


def test_no_more_than_the_read_ahead_is_in_memory(server, topic) -> None:
    async def main() -> None:
        async with connected(server, read_ahead=10) as broker:
            async with broker.subscribe(topic, "g"):
                pass
            await broker.publish_many(topic, [number(value) for value in range(300)])
            async with broker.subscribe(topic, "g", prefetch=5) as subscription:
                most, found = 0, []
                while len(found) < 300:
                    delivery = await receive(subscription)
                    (group,) = broker._groups.values()
                    most = max(most, len(group._owner.window.entries))
                    found.append(delivery.message.read(int))
                    await delivery.ack()
        assert found == list(range(300))
        assert most <= 15

    asyncio.run(main())


def test_a_message_that_the_server_cannot_take_is_refused(server, topic) -> None:
    async def main() -> None:
        async with connected(server) as broker, broker.subscribe(topic, "g") as subscription:
            with pytest.raises(MessageTooLarge, match="max_payload"):
                await broker.publish(topic, number("x" * 2_000_000))
            await broker.publish(topic, number("x" * 1_000_000))
            await (await receive(subscription)).reject(reason="reason " * 10_000)
            (letter,) = await broker.dead_letters(topic)
            assert letter.reason.startswith("reason ")

    asyncio.run(main())


def test_health_tells_what_may_become_of_a_confirmed_message(server) -> None:
    async def main() -> None:
        async with connected(server) as broker:
            health = await broker.health()
            assert health.status is HealthStatus.DEGRADED
            assert "sync_interval" in health.detail
        async with connected(server, durability="accept") as broker:
            assert (await broker.health()).status is HealthStatus.OK

    asyncio.run(main())


def test_retention_by_age_keeps_what_every_group_has_handled(server, topic) -> None:
    async def main() -> None:
        async with connected(server, stream="bylimits", retention="limits", max_age=3600) as broker:
            async with broker.subscribe(topic, "g") as subscription:
                await broker.publish(topic, number(1))
                await (await receive(subscription)).ack()
            async with broker.subscribe(topic, "g") as subscription:
                await broker.publish(topic, number(2))
                assert (await receive(subscription)).message.read(int) == 2
            assert await broker._parts.jetstream.get("bylimits", 1) is not None

    asyncio.run(main())


def test_a_work_queue_has_one_group_a_topic_and_says_so(server, topic) -> None:
    async def main() -> None:
        async with connected(server, stream="queue", retention="workqueue") as broker:
            await broker.publish(topic, number("before any group"))
            async with broker.subscribe(topic, "g") as subscription:
                await (await receive(subscription)).ack()
                with pytest.raises(BrokerError, match="unique"):
                    await broker.subscribe(topic, "second").__aenter__()

    asyncio.run(main())


def test_400_simultaneous_messages_are_all_handled(server, topic) -> None:
    async def main() -> None:
        async with (
            connected(server) as broker,
            connected(server) as other,
            broker.subscribe(topic, "g", prefetch=20) as one,
            other.subscribe(topic, "g", prefetch=20) as two,
        ):
            found: list[int] = []

            async def consume(subscription) -> None:
                async for delivery in subscription:
                    found.append(delivery.message.read(int))
                    await delivery.ack()

            tasks = [asyncio.ensure_future(consume(subscription)) for subscription in (one, two)]
            await asyncio.gather(*(broker.publish(topic, number(value)) for value in range(400)))
            async with asyncio.timeout(20):
                while len(found) < 400:
                    await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert sorted(found) == list(range(400))

    asyncio.run(main())
