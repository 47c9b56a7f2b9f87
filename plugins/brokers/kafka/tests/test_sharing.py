"""Few partitions, many clients: what one cannot hand out, another gets."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aats_broker_kafka import KafkaBroker
from aats_broker_kafka import group as group_module
from aats_broker_kafka.driver import Refused, TopicPartition
from aats_broker_kafka.offsets import Start, starts
from aats_broker_kafka.partition import State

from aats_core.broker import Subscription
from aats_core.errors import BrokerUnavailable
from aats_core.message import Message, new_id
from plugins.brokers.kafka.tests.conftest import Opening
from tests.services.kafka import KafkaServer

PATIENCE = 60


def topic() -> str:
    return f"sharing.{new_id()}"


async def take(subscription: Subscription) -> object:
    """Receive and acknowledge one message, and return what it carries."""
    async with asyncio.timeout(PATIENCE):
        delivery = await anext(subscription)
        await delivery.ack()
    return delivery.message.read(object)


async def take_until(subscription: Subscription, count: int, values: list[object]) -> None:
    """Receive and acknowledge messages, and collect what they carry, until others and this one have so many."""
    async for delivery in subscription:
        await delivery.ack()
        values.append(delivery.message.read(object))
        if len(values) == count:
            return


def owned(broker: KafkaBroker, group: str) -> set[object]:
    """Return the partitions that a client owns for a group."""
    return set(broker._subscriptions._groups[group].partitions)


def test_clients_without_a_partition_work_too(client: Opening) -> None:
    """Each client keeps its first message until all of them have one, so that the owner alone could not do it."""

    async def main() -> None:
        name, values = topic(), set(range(60))
        async with AsyncExitStack() as stack:
            brokers = [await stack.enter_async_context(client(partitions=1)) for _ in range(3)]
            subscriptions = [
                await stack.enter_async_context(broker.subscribe(name, "g", prefetch=1)) for broker in brokers
            ]
            handled: list[set[int]] = [set(), set(), set()]
            everyone, everything = asyncio.Event(), asyncio.Event()

            async def work(number: int) -> None:
                async for delivery in subscriptions[number]:
                    handled[number].add(delivery.message.read(int))
                    if all(handled):
                        everyone.set()
                    await everyone.wait()
                    await delivery.ack()
                    if set.union(*handled) == values:
                        everything.set()

            working = [asyncio.create_task(work(number)) for number in range(3)]
            await brokers[0].publish_many(name, [Message("m", value) for value in values])
            async with asyncio.timeout(PATIENCE):
                await everything.wait()
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    asyncio.run(main())


def test_a_lent_message_can_be_settled_in_every_way(client: Opening) -> None:
    async def main() -> None:
        name = topic()
        async with (
            client(partitions=1, max_attempts=3) as owner,
            client() as other,
            owner.subscribe(name, "g", prefetch=1) as busy,
        ):
            await owner.publish(name, Message("m", "in hand"))
            held = await anext(busy)
            async with other.subscribe(name, "g", prefetch=5) as idle, asyncio.timeout(PATIENCE):
                await owner.publish(name, Message("m", "lent"))
                for attempt in (1, 2):
                    delivery = await anext(idle)
                    assert (delivery.message.read(str), delivery.attempt) == ("lent", attempt)
                    await delivery.extend()
                    await delivery.nack(delay=0.05, reason="again")
                delivery = await anext(idle)
                await delivery.nack(reason="third time")
                (letter,) = await other.dead_letters(name)
                assert (letter.reason, letter.attempts) == ("third time", 3)
                await owner.publish(name, Message("m", "rejected"))
                await (await anext(idle)).reject(reason="no")
                assert [letter.reason for letter in await other.dead_letters(name)] == ["third time", "no"]
                await owner.publish(name, Message("m", "done"))
                delivery = await anext(idle)
                assert delivery.message.read(str) == "done"
                await delivery.ack()
            await held.ack()
        async with client() as late, late.subscribe(name, "g") as subscription:
            await late.publish(name, Message("m", "after"))
            assert await take(subscription) == "after"

    asyncio.run(main())


def test_a_message_whose_partition_moves_stays_with_its_consumer(client: Opening) -> None:
    async def main() -> None:
        name, values = topic(), list[object]()
        async with client() as first, first.subscribe(name, "g", prefetch=20) as early:
            await first.publish_many(name, [Message("m", value) for value in range(20)])
            async with asyncio.timeout(PATIENCE):
                held = [await anext(early) for _ in range(20)]
            before = owned(first, f"g@{name}")
            async with client() as second, second.subscribe(name, "g") as late, asyncio.timeout(PATIENCE):
                while not owned(second, f"g@{name}"):
                    await asyncio.sleep(0.02)
                kept = owned(first, f"g@{name}")
                assert kept < before, "nothing moved"
                assert kept, "what could stay moved too"
                for delivery in held:
                    await delivery.ack()
                await first.publish_many(name, [Message("m", "after")] * 5)
                seen = [asyncio.create_task(take_until(subscription, 5, values)) for subscription in (early, late)]
                await asyncio.wait(seen, return_when=asyncio.FIRST_COMPLETED)
                for task in seen:
                    task.cancel()
                await asyncio.gather(*seen, return_exceptions=True)
                assert values == ["after"] * 5

    asyncio.run(main())


def test_what_is_in_hand_stays_there_while_the_group_is_shared_out_anew(
    client: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        name = topic()
        async with client(partitions=1) as broker:
            async with broker.subscribe(name, "g") as subscription, asyncio.timeout(PATIENCE):
                await broker.publish_many(name, [Message("m", value) for value in range(2)])
                first, second = await anext(subscription), await anext(subscription)
                membership = broker._subscriptions._groups[f"g@{name}"].membership
                ask, commit = membership._joining.ask_coordinator, membership.commit
                joined, refused = asyncio.Event(), asyncio.Event()

                async def ask_slowly(group: str, request: Any, what: str) -> Any:
                    answer = await ask(group, request, what)
                    if what == "join" and not answer.error_code:
                        joined.set()
                        await refused.wait()
                    return answer

                async def watch(offsets: Any) -> None:
                    try:
                        await commit(offsets)
                    except Refused:
                        refused.set()
                        raise

                monkeypatch.setattr(membership._joining, "ask_coordinator", ask_slowly)
                monkeypatch.setattr(membership, "commit", watch)
                membership.changed()
                await joined.wait()
                await first.ack()
                assert refused.is_set(), "the group did not know of a generation that its member knows not yet"
                await second.ack()
            async with broker.subscribe(name, "g") as subscription:
                await broker.publish(name, Message("m", "after"))
                assert await take(subscription) == "after", "what was acknowledged came again"

    asyncio.run(main())


DYING = """
import asyncio, os, signal, sys
from aats_broker_kafka import KafkaBroker, KafkaSettings

async def main(server, topic):
    settings = KafkaSettings(servers=[server], replication_factor=1, session=4.0, heartbeat=0.2, max_attempts=3)
    broker = KafkaBroker(settings)
    await broker.connect()
    async with broker.subscribe(topic, "g", prefetch=10) as subscription:
        async for delivery in subscription:
            value = delivery.message.read(str)
            print(value, delivery.attempt, flush=True)
            if value == "poison":
                os.kill(os.getpid(), signal.SIGKILL)
            if value == "later":
                await delivery.nack(delay=600)
                os.kill(os.getpid(), signal.SIGKILL)
            if value != "kept":
                await delivery.ack()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def run_until_killed(server: KafkaServer, tmp_path: Path) -> Callable[[str], Awaitable[list[str]]]:
    """Return what runs a consumer that dies of "poison", and returns the messages and attempts that it saw."""
    program = tmp_path / "dying.py"
    program.write_text(DYING)

    def run(name: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(program), server.url, name], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == -9, done.stderr
        return done.stdout.split("\n")[:-1]

    return functools.partial(asyncio.to_thread, run)


def test_a_message_that_kills_its_process_is_a_dead_letter_after_as_many_kills(
    client: Opening, run_until_killed: Callable[[str], Awaitable[list[str]]]
) -> None:
    async def main() -> None:
        name = topic()
        async with client(partitions=1, max_attempts=3) as broker:
            async with broker.subscribe(name, "g"):
                pass
            for value in ("a", "b", "poison", "c", "d"):
                await broker.publish(name, Message("m", value))
            first = await run_until_killed(name)
            assert first == ["a 1", "b 1", "poison 1"]
            for attempt in (2, 3):
                assert await run_until_killed(name) == [f"poison {attempt}"]
            async with broker.subscribe(name, "g") as subscription:
                assert [await take(subscription), await take(subscription)] == ["c", "d"]
                async with asyncio.timeout(PATIENCE):
                    while not (letters := await broker.dead_letters(name)):
                        await asyncio.sleep(0.02)
                (letter,) = letters
                assert (letter.message.read(str), letter.attempts) == ("poison", 3)

    asyncio.run(main())


def test_messages_that_a_killed_process_held_come_again_while_others_are_in_hand(
    client: Opening, run_until_killed: Callable[[str], Awaitable[list[str]]]
) -> None:
    async def main() -> None:
        name = topic()
        values = ["kept", "kept", "kept", "poison"]
        async with client(partitions=1) as broker:
            async with broker.subscribe(name, "g"):
                pass
            for value in values:
                await broker.publish(name, Message("m", value))
            assert await run_until_killed(name) == [f"{value} 1" for value in values]
            async with broker.subscribe(name, "g") as subscription, asyncio.timeout(PATIENCE):
                held = [await anext(subscription) for _ in values]
                assert [delivery.attempt for delivery in held] == [2] * len(values)
                for delivery in held:
                    await delivery.ack()
                await broker.publish(name, Message("m", "after"))
                assert await take(subscription) == "after"

    asyncio.run(main())


def test_a_delay_outlives_who_asked_for_it(
    client: Opening, run_until_killed: Callable[[str], Awaitable[list[str]]]
) -> None:
    async def main() -> None:
        name = topic()
        async with client(partitions=1) as broker:
            async with broker.subscribe(name, "g"):
                pass
            await broker.publish(name, Message("m", "later"))
            began = time.time()
            assert await run_until_killed(name) == ["later 1"]
            killed = time.time()
            async with broker.subscribe(name, "g"), asyncio.timeout(PATIENCE):
                group = broker._subscriptions._groups[f"g@{name}"]
                while not (entries := [e for part in group.partitions.values() for e in part.open.values()]):
                    await asyncio.sleep(0.02)
                (entry,) = entries
                assert (entry.attempts, entry.state) == (1, State.WAITING)
                assert began + 600 <= entry.due <= killed + 600.1

    asyncio.run(main())


def test_partitions_that_could_not_be_begun_with_are_begun_with_later(
    client: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [BrokerUnavailable("no answer")]

    async def fail_first(*args: Any) -> dict[TopicPartition, Start]:
        if failures:
            raise failures.pop()
        return await starts(*args)

    async def main() -> None:
        name = topic()
        async with client() as broker:
            async with broker.subscribe(name, "g"):
                pass
            await broker.publish(name, Message("m", "early"))
            monkeypatch.setattr(group_module, "starts", fail_first)
            async with broker.subscribe(name, "g") as subscription:
                assert await take(subscription) == "early"
        assert not failures

    asyncio.run(main())
