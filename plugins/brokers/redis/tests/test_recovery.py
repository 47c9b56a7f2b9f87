from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aats_core.broker import GroupStatus
from aats_core.errors import BrokerUnavailable
from aats_core.message import Message, new_id
from plugins.brokers.redis.tests.conftest import Connected
from tests.services import RedisServer
from tests.services.proxy import Fault, FaultProxy

ROOT = Path(__file__).parents[4]

HOLD = """
import asyncio, sys
from aats_broker_redis import RedisBroker, RedisSettings

async def main():
    port, topic, ephemeral = sys.argv[1:]
    broker = RedisBroker(RedisSettings(servers=[f"redis://127.0.0.1:{port}"], lease=1.0, max_attempts=2))
    await broker.connect()
    subscription = await broker.subscribe(topic, "g", ephemeral=ephemeral == "ephemeral").__aenter__()
    waiting = asyncio.ensure_future(anext(subscription))
    print("ready", flush=True)
    await waiting
    print("held", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def hold(port: int, topic: str, kind: str = "durable") -> subprocess.Popen[str]:
    """Start a consumer that takes a message and never settles it; return once it consumes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(port), topic, kind], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def group_of(broker: Any, topic: str) -> GroupStatus | None:
    return next((status.groups[0] for status in await broker.topics() if status.topic == topic and status.groups), None)


class TestConsumers:
    def test_what_a_killed_process_held_goes_to_another(self, server: RedisServer, connect: Connected) -> None:
        topic = f"recovery.{new_id()}"

        async def scenario() -> None:
            async with connect(server.port, lease=1.0) as broker:
                process = await asyncio.to_thread(hold, server.port, topic)
                await broker.publish_many(topic, [Message("m", value) for value in range(5)])
                assert await asyncio.to_thread(process.stdout.readline) == "held\n"
                kill(process)
                async with broker.subscribe(topic, "g") as subscription:
                    found = [await anext(subscription) for _ in range(5)]
                assert {delivery.message.read(int) for delivery in found} == set(range(5))
                assert {delivery.attempt for delivery in found} == {2}

        asyncio.run(scenario())

    def test_neighbours_of_a_message_that_kills_are_spared(self, server: RedisServer, connect: Connected) -> None:
        topic = f"recovery.{new_id()}"

        async def scenario() -> None:
            async with connect(server.port, lease=1.0, max_attempts=2) as broker:
                async with broker.subscribe(topic, "g"):
                    pass
                await broker.publish_many(topic, [Message("m", value) for value in range(5)])
                for _ in range(2):  # the first message kills both; the others lie fetched in the first process alone
                    process = await asyncio.to_thread(hold, server.port, topic)
                    assert await asyncio.to_thread(process.stdout.readline) == "held\n"
                    kill(process)
                    while (group := await group_of(broker, topic)) and (group.consumers or group.held):
                        await asyncio.sleep(0.02)
                letters = await broker.dead_letters(topic)
                assert [(letter.message.read(int), letter.attempts) for letter in letters] == [(0, 2)]
                async with broker.subscribe(topic, "g") as subscription:
                    for _ in range(4):
                        await (await anext(subscription)).ack()

        asyncio.run(scenario())

    def test_the_group_of_a_killed_process_ends_if_it_is_ephemeral(
        self, server: RedisServer, connect: Connected
    ) -> None:
        topic = f"recovery.{new_id()}"

        async def scenario() -> None:
            async with connect(server.port, lease=1.0) as broker:
                process = await asyncio.to_thread(hold, server.port, topic, "ephemeral")
                assert await group_of(broker, topic) == GroupStatus("g", 1, 0, 0)
                kill(process)
                while await group_of(broker, topic):
                    await asyncio.sleep(0.02)
                assert topic.encode() not in server.ask(f"KEYS *{topic}*")

        asyncio.run(scenario())

    def test_who_lives_keeps_what_it_has_fetched_longer_than_a_lease(
        self, server: RedisServer, connect: Connected
    ) -> None:
        topic = f"recovery.{new_id()}"

        async def scenario() -> None:
            async with (
                connect(server.port, lease=0.6) as broker,
                connect(server.port, lease=0.6) as other,
                broker.subscribe(topic, "g") as slow,
            ):
                await broker.publish_many(topic, [Message("m", value) for value in range(3)])
                first = await anext(slow)
                async with other.subscribe(topic, "g") as quick:
                    waiting = asyncio.ensure_future(anext(quick))
                    for _ in range(6):
                        await asyncio.sleep(0.3)
                        await first.extend()
                    assert not waiting.done(), "the fetched messages of a consumer that lives were taken from it"
                    await first.ack()
                    for _ in range(2):
                        delivery = await anext(slow)
                        assert delivery.attempt == 1
                        await delivery.ack()
                    waiting.cancel()

        asyncio.run(scenario())

    def test_a_consumer_that_was_cut_off_for_too_long_begins_anew(
        self, server: RedisServer, proxy: FaultProxy, connect: Connected
    ) -> None:
        topic = f"recovery.{new_id()}"

        async def scenario() -> None:
            async with (
                connect(proxy.port, lease=1.0) as cut,
                connect(server.port, lease=1.0) as other,
                cut.subscribe(topic, "g") as late,
            ):
                await other.publish_many(topic, [Message("m", value) for value in range(3)])
                lost = await anext(late)
                await asyncio.to_thread(proxy.inject, Fault.STALL)
                async with other.subscribe(topic, "g") as subscription:
                    for _ in range(3):
                        delivery = await anext(subscription)
                        assert delivery.attempt == 2
                        await delivery.ack()
                await asyncio.to_thread(proxy.inject, Fault.NONE)
                await other.publish(topic, Message("m", "new"))
                delivery = await anext(late)
                assert delivery.message.read(str) == "new", "it handed out what had been taken from it"
                await lost.ack()
                await delivery.ack()

        asyncio.run(scenario())


class TestLostAnswers:
    """The server does what it is asked for, and the client never hears of it."""

    def test_a_message_is_stored_once(self, server: RedisServer, proxy: FaultProxy, connect: Connected) -> None:
        topic = f"recovery.{new_id()}"

        async def scenario() -> None:
            async with (
                connect(proxy.port, timeout=8.0) as deaf,
                connect(server.port) as broker,
                broker.subscribe(topic, "g") as subscription,
            ):
                await deaf.publish(
                    topic, Message("m", 0)
                )  # so that there is a connection, and the server has the script
                await (await anext(subscription)).ack()
                await asyncio.to_thread(proxy.inject, Fault.HALF_OPEN)
                publishing = asyncio.ensure_future(deaf.publish(topic, Message("m", 1)))
                await (await anext(subscription)).ack()
                await asyncio.to_thread(proxy.reset)
                await asyncio.to_thread(proxy.inject, Fault.NONE)
                await publishing
                await broker.publish(topic, Message("m", "after"))
                assert (await anext(subscription)).message.read(object) == "after", "the repetition was stored too"

        asyncio.run(scenario())

    def test_messages_that_were_handed_out_are_asked_for(
        self, server: RedisServer, proxy: FaultProxy, connect: Connected
    ) -> None:
        topic = f"recovery.{new_id()}"

        async def scenario() -> None:
            async with (
                connect(proxy.port, timeout=8.0) as deaf,
                connect(server.port) as broker,
                deaf.subscribe(topic, "g") as subscription,
            ):
                await broker.publish(topic, Message("m", "held"))
                held = await anext(subscription)
                await asyncio.to_thread(proxy.inject, Fault.HALF_OPEN)
                waiting = asyncio.ensure_future(anext(subscription))
                await broker.publish_many(topic, [Message("m", value) for value in range(3)])
                while (await group_of(broker, topic)).held < 4:
                    await asyncio.sleep(0.02)
                    await asyncio.to_thread(proxy.inject, Fault.NONE)
                    await asyncio.to_thread(proxy.inject, Fault.HALF_OPEN)
                await asyncio.to_thread(proxy.reset)
                await asyncio.to_thread(proxy.inject, Fault.NONE)
                found = [await waiting, await anext(subscription), await anext(subscription)]
                assert [delivery.message.read(int) for delivery in found] == [0, 1, 2]
                assert {delivery.attempt for delivery in found} == {1}
                for delivery in (held, *found):
                    await delivery.ack()
                assert await group_of(broker, topic) == GroupStatus("g", 1, 0, 0)

        asyncio.run(scenario())


class TestServers:
    @pytest.mark.parametrize("how", ["kill", "stop"])
    def test_what_was_confirmed_outlives_the_server(
        self, how: str, own_server: Callable[..., RedisServer], connect: Connected
    ) -> None:
        server = own_server()

        async def scenario() -> None:
            confirmed, handled, refused = set[int](), set[int](), 0
            async with connect(server.port, lease=2.0) as broker, broker.subscribe("t", "g") as subscription:

                async def consume() -> None:
                    async for delivery in subscription:
                        handled.add(delivery.message.read(int))
                        await delivery.ack()

                async def publish(value: int) -> None:
                    nonlocal refused
                    try:
                        await broker.publish("t", Message("m", value))
                        confirmed.add(value)
                    except BrokerUnavailable:
                        refused += 1

                consuming = asyncio.ensure_future(consume())
                publishing = [asyncio.ensure_future(publish(value)) for value in range(500)]
                await asyncio.sleep(0.02)
                await asyncio.to_thread(getattr(server, how))
                publishing += [asyncio.ensure_future(publish(value)) for value in range(500, 600)]
                await asyncio.to_thread(server.start)
                await asyncio.gather(*publishing)
                assert refused == 0, "publish did not wait through a short outage"
                while not confirmed <= handled:
                    await asyncio.sleep(0.01)
                consuming.cancel()

        asyncio.run(scenario())

    def test_a_restart_takes_nothing_from_who_lives(
        self, own_server: Callable[..., RedisServer], connect: Connected
    ) -> None:
        server = own_server()

        async def scenario() -> None:
            async with (
                connect(server.port, lease=2.0) as broker,
                connect(server.port, lease=2.0) as other,
                broker.subscribe("t", "g") as busy,
                other.subscribe("t", "g") as idle,
            ):
                await broker.publish("t", Message("m", "long"))
                delivery = await anext(busy)
                waiting = asyncio.ensure_future(anext(idle))
                await asyncio.to_thread(server.kill)
                for _ in range(5):  # longer than the lease
                    await asyncio.sleep(0.5)
                    await delivery.extend()
                await asyncio.to_thread(server.start)
                for _ in range(3):
                    await asyncio.sleep(0.5)
                    await delivery.extend()
                assert not waiting.done(), "who lives was robbed because the server was away"
                await delivery.ack()
                await other.publish("t", Message("m", "next"))
                assert (await waiting).message.read(str) == "next"

        asyncio.run(scenario())

    def test_consumers_go_on_where_the_server_forgot_everything(
        self, server: RedisServer, own_server: Callable[..., RedisServer], connect: Connected
    ) -> None:
        forgetful = own_server()

        async def scenario() -> None:
            async with connect(forgetful.port, lease=1.0) as broker, broker.subscribe("t", "g") as subscription:
                waiting = asyncio.ensure_future(anext(subscription))
                forgetful.ask("FLUSHALL")
                while not (await group_of(broker, "t")):
                    await asyncio.sleep(0.02)
                await broker.publish("t", Message("m", "after"))
                assert (await waiting).message.read(str) == "after"

        asyncio.run(scenario())
