from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Any, TypeVar

import pytest
from aats_broker_rabbitmq import RabbitBroker
from aats_broker_rabbitmq.entry import KEY
from aats_broker_rabbitmq.publisher import Outgoing
from aats_broker_rabbitmq.topology import FANOUT, QUORUM, route

from aats_core.broker import Delivery, Subscription
from aats_core.errors import BrokerError, BrokerUnavailable, MessageTooLarge
from aats_core.health import HealthStatus
from aats_core.message import Message, new_id
from tests.services import RabbitServer
from tests.services.proxy import Fault, FaultProxy
from tests.services.service import free_port

T = TypeVar("T")
Make = Callable[..., RabbitBroker]
PATIENCE = 100.0

pytestmark = pytest.mark.timeout(240)
"""Longer than any test may take with its patience, and the start of a server before it."""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario

    asyncio.run(bounded())


@asynccontextmanager
async def connected(broker: RabbitBroker) -> AsyncIterator[RabbitBroker]:
    await broker.connect()
    try:
        yield broker
    finally:
        await broker.close()


def topic() -> str:
    return f"own.{new_id()}"


async def insist(attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
    while True:
        with suppress(BrokerUnavailable):
            return await attempt()


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    return [await anext(subscription) for _ in range(count)]


def test_what_was_confirmed_outlives_the_death_of_the_server(make: Make, server: RabbitServer) -> None:
    if server.given:
        pytest.skip("the server of AATS_TEST_RABBITMQ_URL is not ours to kill")

    async def scenario() -> None:
        name = topic()
        async with connected(make(timeout=90)) as broker, broker.subscribe(name, "g", prefetch=500) as subscription:
            confirmed = asyncio.gather(*(broker.publish(name, Message("m", value)) for value in range(300)))
            await asyncio.sleep(0.02)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await confirmed
            found = set[int]()
            while len(found) < 300:
                delivery = await anext(subscription)
                found.add(delivery.message.read(int))
                await delivery.ack()

    run(scenario())


def test_another_address_is_used_when_the_first_is_dead(make: Make, server: RabbitServer) -> None:
    async def scenario() -> None:
        name = topic()
        dead = f"amqp://127.0.0.1:{free_port()}"
        async with (
            connected(make(servers=[dead, server.url])) as broker,
            broker.subscribe(name, "g") as subscription,
        ):
            await broker.publish(name, Message("m", 1))
            await (await anext(subscription)).ack()

    run(scenario())


def test_another_address_is_used_when_the_first_is_silent(make: Make, server: RabbitServer) -> None:
    async def scenario(port: int) -> None:
        broker = make(servers=[f"amqp://127.0.0.1:{port}", server.url], timeout=2)
        await insist(broker.connect)
        await broker.close()

    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        run(scenario(silent.getsockname()[1]))


def test_a_client_moves_to_the_address_that_lives(make: Make, server: RabbitServer) -> None:
    async def scenario(one: FaultProxy, two: FaultProxy) -> None:
        name = topic()
        addresses = [f"amqp://127.0.0.1:{proxy.port}" for proxy in (one, two)]
        async with connected(make(servers=addresses)) as broker, broker.subscribe(name, "g") as subscription:
            assert (one.connections, two.connections) == (1, 0)
            await asyncio.to_thread(one.inject, Fault.CUT)
            await broker.publish(name, Message("m", 1))
            await (await anext(subscription)).ack()
            assert two.connections == 1

    with FaultProxy(server.port) as one, FaultProxy(server.port) as two:
        run(scenario(one, two))


@pytest.mark.parametrize("silent", [False, True], ids=["dead", "silent"])
def test_a_server_that_cannot_be_reached_is_named(make: Make, *, silent: bool) -> None:
    async def scenario(port: int) -> None:
        address = f"amqp://127.0.0.1:{port}"
        broker = make(servers=[address], timeout=0.3)
        with pytest.raises(BrokerUnavailable, match=address):
            await broker.connect()
        health = await broker.health()
        assert health.status is HealthStatus.DOWN

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        run(scenario(server.getsockname()[1] if silent else free_port()))


def test_a_server_of_another_kind_is_named_with_what_it_says(make: Make) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            broker = make(servers=[address], timeout=60)
            connecting = asyncio.create_task(broker.connect())
            said = f"{address}: what listens there is no RabbitMQ, it says b'HTTP/1.1 400 Bad Request"
            while said not in (await broker.health()).detail:
                assert not connecting.done()
                await asyncio.sleep(0.01)
            connecting.cancel()
            await asyncio.wait({connecting})

    run(scenario())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "no"}, r"refused the user 'aats' or the password"),
        ({"user": "nobody"}, r"refused the user 'nobody' or the password"),
        ({"vhost": "no"}, r"refused the vhost 'no' to the user 'aats'.*not found"),
    ],
    ids=["password", "user", "vhost"],
)
def test_a_refusal_is_reported_at_once_with_its_reason(make: Make, wrong: dict[str, str], said: str) -> None:
    async def scenario() -> None:
        broker = make(**wrong, timeout=3600)
        with pytest.raises(BrokerUnavailable, match=said) as caught:
            await broker.connect()
        assert "secret" not in str(caught.value)

    run(scenario())


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.HALF_OPEN])
def test_nothing_is_published_to_a_server_that_does_not_answer(make: Make, server: RabbitServer, fault: Fault) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        name = topic()
        broker = make(servers=[f"amqp://127.0.0.1:{proxy.port}"], timeout=1)
        async with AsyncExitStack() as stack:
            await insist(broker.connect)
            stack.push_async_callback(broker.close)
            subscription = await insist(lambda: stack.enter_async_context(broker.subscribe(name, "g")))
            await asyncio.to_thread(proxy.inject, fault)
            with pytest.raises(BrokerUnavailable):
                await broker.publish(name, Message("m", 0))
            assert (await broker.health()).status is HealthStatus.DOWN
            await asyncio.to_thread(proxy.inject, Fault.NONE)
            await insist(lambda: broker.publish(name, Message("m", 1)))
            while (await anext(subscription)).message.read(int) != 1:
                pass  # whether the first one was accepted is not known

    with FaultProxy(server.port) as proxy:
        run(scenario(proxy))


def test_a_message_that_was_late_before_it_was_sent_does_not_end_the_connection(
    make: Make, server: RabbitServer
) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        async with connected(make(servers=[f"amqp://127.0.0.1:{proxy.port}"])) as broker:
            proxy.delay = 0.5
            late = Outgoing("", "nowhere", b"", None, asyncio.get_running_loop().time() + 0.1)
            with pytest.raises(BrokerUnavailable, match="did not confirm"):
                await broker._context.publisher._send([late])
            await broker.publish(topic(), Message("m"))
            assert proxy.connections == 1

    with FaultProxy(server.port) as proxy:
        run(scenario(proxy))


def test_what_the_server_refuses_is_sent_again_on_another_channel(make: Make) -> None:
    async def scenario() -> None:
        async with connected(make()) as broker:
            session = broker._context.link.session
            assert session is not None
            refusing, name = session.publishing, topic()
            full = {**QUORUM, "x-max-length": 1, "x-overflow": "reject-publish", "x-expires": 60_000}
            await refusing.queue_declare(queue=name, durable=True, arguments=full)
            publisher = broker._context.publisher

            async def publish() -> None:
                while session.publishing is refusing:  # it is full some messages after the first
                    await publisher.publish("", name, b"")

            publishing = asyncio.create_task(publish())
            while session.publishing is refusing or not refusing.is_closed:
                await asyncio.sleep(0.01)
            assert not publishing.done()
            await session.publishing.queue_delete(queue=name)
            await publishing
            assert broker._context.link.session is session

    run(scenario())


def test_an_acknowledgement_that_was_cut_off_is_made_up_for(make: Make, server: RabbitServer) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        name = topic()
        async with (
            connected(make(servers=[f"amqp://127.0.0.1:{proxy.port}"])) as broker,
            broker.subscribe(name, "g") as subscription,
        ):
            await broker.publish(name, Message("m", "handled"))
            delivery = await anext(subscription)
            await asyncio.to_thread(proxy.inject, Fault.CUT)
            await delivery.ack()
            await asyncio.to_thread(proxy.inject, Fault.NONE)
            await broker.publish(name, Message("m", "next"))
            assert (await anext(subscription)).message.read(str) == "next"

    with FaultProxy(server.port) as proxy:
        run(scenario(proxy))


def test_a_handler_goes_on_with_its_message_through_an_outage(make: Make, server: RabbitServer) -> None:
    async def scenario(proxy: FaultProxy) -> None:
        name = topic()
        async with (
            connected(make(servers=[f"amqp://127.0.0.1:{proxy.port}"])) as broker,
            broker.subscribe(name, "g") as subscription,
        ):
            await broker.publish(name, Message("m", "long"))
            held = await anext(subscription)
            await asyncio.to_thread(proxy.inject, Fault.CUT)
            await asyncio.to_thread(proxy.inject, Fault.NONE)
            await broker.publish(name, Message("m", "next"))
            assert (await anext(subscription)).message.read(str) == "next"
            await held.nack()
            again = await anext(subscription)
            assert (again.message.read(str), again.attempt) == ("long", 2)
            await again.ack()

    with FaultProxy(server.port) as proxy:
        run(scenario(proxy))


def test_a_busy_consumer_hoards_nothing(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with (
            connected(make()) as broker,
            connected(make()) as other,
            broker.subscribe(name, "g", prefetch=1) as busy,
        ):
            await broker.publish(name, Message("m", 0))
            held = await anext(busy)
            for priority in range(1, 10):
                await broker.publish(name, Message("m", priority, priority=priority))
            await broker.publish(name, Message("m", 10), key="k")
            async with other.subscribe(name, "g") as idle:
                found = [delivery.message.read(int) for delivery in await take(idle, 10)]
                assert sorted(found) == list(range(1, 11))
            await held.ack()
            assert [delivery.attempt for delivery in await take(busy, 1)] == [2]

    run(scenario())


def test_a_consumer_that_leaves_while_it_makes_way_takes_no_attempt(make: Make, server: RabbitServer) -> None:
    async def company() -> bool:
        return True

    async def scenario(proxy: FaultProxy) -> None:
        name = topic()
        async with connected(make()) as broker:
            async with (
                connected(make(servers=[f"amqp://127.0.0.1:{proxy.port}"])) as slow,
                slow.subscribe(name, "g") as subscription,
            ):
                subscription._intakes[0].has_company = company  # type: ignore[method-assign] # which comes too late
                await broker.publish(name, Message("m", 1))
                await broker.publish(name, Message("m", 2), key="k")
                while subscription.count().fetched < 2:
                    await asyncio.sleep(0.01)
                proxy.delay = 0.05
                while not subscription._paused:
                    await asyncio.sleep(0.01)
            async with broker.subscribe(name, "g") as successor:
                assert [delivery.attempt for delivery in await take(successor, 2)] == [1, 1]

    with FaultProxy(server.port) as proxy:
        run(scenario(proxy))


def test_a_busy_consumer_that_is_alone_keeps_what_it_fetched(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with connected(make()) as broker, broker.subscribe(name, "g", prefetch=1) as busy:
            await broker.publish_many(name, [Message("m", value) for value in range(2)])
            held = await anext(busy)
            asked = asyncio.Event()
            look = busy._intakes[0].has_company

            async def noted() -> bool:
                found = await look()
                asked.set()
                return found

            busy._intakes[0].has_company = noted  # type: ignore[method-assign] # to see when it has looked
            await asked.wait()
            assert busy.count().fetched == 2
            assert not busy._paused
            await held.ack()
            assert (await anext(busy)).attempt == 1

    run(scenario())


def test_a_consumer_that_entered_while_a_connection_was_taken_up_consumes_once(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with connected(make()) as broker, broker.subscribe(name, "g") as subscription:
            session = broker._context.link.session
            assert session is not None
            await broker._up(session)  # as it goes on, when its answers come late, after the subscription was entered
            (status,) = [status for status in await broker.topics() if status.topic == name]
            assert [group.consumers for group in status.groups] == [1]
            await broker.publish(name, Message("m", 1))
            await (await anext(subscription)).ack()

    run(scenario())


def test_who_follows_consumers_that_came_and_went_sees_first_attempts(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with connected(make()) as broker:
            async with broker.subscribe(name, "g"):
                pass
            for value in range(20):
                await broker.publish(name, Message("m", value), key="k" if value % 2 else None)
                async with broker.subscribe(name, "g"):
                    pass
            async with broker.subscribe(name, "g", prefetch=20) as subscription:
                found = await take(subscription, 11)
                assert [delivery.attempt for delivery in found] == [1] * 11  # of those with a key the first alone

    run(scenario())


def test_a_consumer_that_made_way_buries_what_had_its_attempts_when_it_leaves(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with connected(make(max_attempts=1)) as broker, connected(make()) as other:
            async with broker.subscribe(name, "g", prefetch=1) as busy:
                await broker.publish(name, Message("m", "held"))
                await anext(busy)
                await broker.publish(name, Message("m", "next"))
                async with other.subscribe(name, "g") as idle:
                    await (await anext(idle)).ack()
            (letter,) = await other.dead_letters(name)
            assert letter.message.read(str) == "held"

    run(scenario())


def test_a_consumer_fetches_a_bounded_number(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with (
            connected(make()) as broker,
            broker.subscribe(name, "g", prefetch=10) as subscription,
        ):
            await broker.publish_many(name, [Message("m", value) for value in range(3000)])
            await anext(subscription)
            seen = None
            while seen != (2999, 1):  # what waits here for long goes back, so a look may find it in both places
                assert subscription.count().fetched <= 10
                (count,) = [status for status in await broker.topics() if status.topic == name]
                seen = (count.groups[0].waiting, count.groups[0].held)

    run(scenario())


def test_four_hundred_events_at_once_arrive(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with connected(make()) as broker, broker.subscribe(name, "g", prefetch=1000) as subscription:
            await asyncio.gather(*(broker.publish(name, Message("m", value)) for value in range(400)))
            found = [delivery.message.read(int) for delivery in await take(subscription, 400)]
            assert sorted(found) == list(range(400))

    run(scenario())


def test_a_message_of_several_frames_arrives_and_a_larger_one_is_refused(make: Make) -> None:
    async def scenario() -> None:
        name, text = topic(), "x" * 1_000_000
        async with (
            connected(make(max_message_bytes=1_100_000)) as broker,
            broker.subscribe(name, "g") as subscription,
        ):
            await broker.publish(name, Message("m", text))
            assert (await anext(subscription)).message.read(str) == text
            with pytest.raises(MessageTooLarge, match="max_message_bytes"):
                await broker.publish(name, Message("m", text * 2))

    run(scenario())


@pytest.mark.parametrize("key", [None, "k"])
def test_what_cannot_be_read_becomes_a_dead_letter_and_the_consumer_goes_on(make: Make, key: str | None) -> None:
    async def scenario() -> None:
        name, junk = topic(), b"\xff is no message"
        async with connected(make()) as broker, broker.subscribe(name, "g") as subscription:
            headers = None if key is None else {KEY: key}
            await broker._context.publisher.publish(FANOUT, route(name, 5, key), junk, headers)
            await broker.publish(name, Message("m", "next"), key=key)
            assert (await anext(subscription)).message.read(str) == "next"
            while not (letters := await broker.dead_letters(name)):
                await asyncio.sleep(0.01)
            (letter,) = letters
            assert letter.message.type == "unreadable"
            assert base64.b64decode(letter.message.read(dict[str, str])["base64"]) == junk
            assert "cannot be read: not a message" in letter.reason
            assert letter.attempts == 0

    run(scenario())


@pytest.mark.parametrize("name", ["", "a.*", "a.#", "x" * 300])
def test_a_topic_that_cannot_be_published_to_is_refused(make: Make, name: str) -> None:
    async def scenario() -> None:
        async with connected(make()) as broker:
            with pytest.raises(BrokerError):
                await broker.publish(name, Message("m"))

    run(scenario())


def test_topics_of_any_letters_and_any_length_have_groups(make: Make) -> None:
    async def scenario() -> None:
        async with connected(make()) as broker:
            for name in (f"{topic()}.grüße und küsse", f"{topic()}.{'x' * 200}"):
                async with broker.subscribe(name, "g" * 60) as subscription:
                    await broker.publish(name, Message("m", name))
                    assert (await anext(subscription)).topic == name

    run(scenario())


def test_a_delay_of_several_steps_ends_at_its_time(make: Make) -> None:
    async def scenario() -> None:
        name = topic()
        async with connected(make()) as broker, broker.subscribe(name, "g") as subscription:
            loop = asyncio.get_running_loop()
            await broker.publish(name, Message("m", 1))
            began = loop.time()
            await (await anext(subscription)).nack(delay=1.55)  # steps of 0.8, 0.4 and 0.2 seconds, and a rest
            again = await anext(subscription)
            assert loop.time() - began >= 1.55
            assert again.attempt == 2
            await again.ack()

    run(scenario())
