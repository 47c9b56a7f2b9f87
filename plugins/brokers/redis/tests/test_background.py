"""What goes wrong behind a consumer's back neither ends its iteration nor stays unsaid."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from aats_broker_redis import RedisBroker, lasting, subscription

from aats_core.broker import DeadLetter
from aats_core.message import Message, new_id
from plugins.brokers.redis.tests.conftest import Connected
from tests.services import RedisServer


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "REST", 0.01)
    monkeypatch.setattr(subscription, "REST", 0.01)


def failing(times: int, real: Any) -> Any:
    """Return what fails so many times in a way that nobody thought of, and then does what it should."""
    left = times

    async def call(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise RuntimeError("nobody thought of this")
        return await real(*arguments, **options)

    return call


async def buried(broker: RedisBroker, topic: str) -> DeadLetter:
    """Wait for the one dead letter of a topic."""
    while not (found := await broker.dead_letters(topic)):
        await asyncio.sleep(0.01)
    (letter,) = found
    return letter


@pytest.mark.parametrize("part", ["take", "settle"])
def test_a_consumer_goes_on_after_a_fault_in_the_background(
    server: RedisServer, connect: Connected, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    async def scenario() -> None:
        name = f"own.{new_id()}"
        async with connect(server.port, lease=1.0) as broker, broker.subscribe(name, "g") as consumer:
            setattr(broker._client, part, failing(2, getattr(broker._client, part)))
            await broker.publish(name, Message("m", 1))
            assert (await anext(consumer)).attempt == 1
            assert (await anext(consumer)).attempt == 2  # its lease ran out, and it was given back

    asyncio.run(scenario())
    assert "nobody thought of this" in caplog.text


def test_consumers_are_kept_alive_after_a_fault_in_the_background(
    server: RedisServer, connect: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        name = f"own.{new_id()}"
        async with connect(server.port, lease=1.0) as broker, broker.subscribe(name, "g") as consumer:
            heard = consumer.alive_until
            broker._client._heard = failing(2, broker._client._heard)
            while consumer.alive_until < heard + 2:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert "telling Redis that consumers live failed" in caplog.text


@pytest.mark.parametrize("lane", ["", "=k"], ids=["alone", "of a key"])
def test_what_cannot_be_read_becomes_a_dead_letter_and_the_consumer_goes_on(
    server: RedisServer, connect: Connected, caplog: pytest.LogCaptureFixture, lane: str
) -> None:
    async def scenario() -> None:
        name, junk = f"own.{new_id()}", b"\xff is no message"
        async with connect(server.port) as broker, broker.subscribe(name, "g") as consumer:
            await broker._client.publish([(name, lane, 5, 0)], [junk])
            await broker.publish(name, Message("m", "next"), key="k" if lane else None)
            following = await anext(consumer)
            assert following.message.read(str) == "next"
            await following.ack()
            letter = await buried(broker, name)
            assert letter.message.type == "unreadable"
            assert base64.b64decode(letter.message.read(dict[str, str])["base64"]) == junk
            assert "cannot be read: not a message" in letter.reason
            assert letter.attempts == 0
            assert await broker.replay(name, [letter.id], edited=Message("m", "mended")) == 1
            assert (await anext(consumer)).message.read(str) == "mended"

    asyncio.run(scenario())
    assert "cannot be read" in caplog.text


def test_what_a_stranger_put_into_a_stream_becomes_a_dead_letter(server: RedisServer, connect: Connected) -> None:
    async def scenario() -> None:
        name = f"own.{new_id()}"
        async with connect(server.port) as broker, broker.subscribe(name, "g") as consumer:
            await broker.publish(name, Message("m", 1))
            await (await anext(consumer)).ack()
            stream = f"{broker._root}p5:{consumer.group}"
            async with broker._client.link.client() as redis:
                await redis.xadd(stream, {"note": "of a stranger"})
            await broker.publish(name, Message("m", 2))
            assert (await anext(consumer)).message.read(int) == 2
            letter = await buried(broker, name)
            assert letter.message.type == "unreadable"

    asyncio.run(scenario())


def test_work_that_ends_is_not_begun_again() -> None:
    async def work() -> None:
        began.append(1)

    began: list[int] = []
    asyncio.run(lasting.lasting("work", work))
    assert began == [1]


def test_work_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)
        await asyncio.Event().wait()

    async def scenario() -> None:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        await lasting.ended(task)
        assert task.cancelled()

    swallowed: list[int] = []
    asyncio.run(scenario())
    assert len(swallowed) == 2
