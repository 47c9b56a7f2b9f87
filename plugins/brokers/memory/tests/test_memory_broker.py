from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aats_core.clock import settle
from aats_core.errors import BrokerError, BrokerUnavailable, InvalidRequest
from aats_core.health import HealthStatus
from aats_core.message import Message


class TestMisuse:
    def test_nothing_works_before_connect_or_after_close(self, open_bench: Any) -> None:
        async def scenario() -> None:
            bench = open_bench()
            for _ in range(2):
                with pytest.raises(BrokerUnavailable, match="connect"):
                    await bench.publish(1)
                with pytest.raises(BrokerUnavailable, match="connect"):
                    await bench.group()
                await bench.broker.connect()
                await bench.broker.connect()
                await bench.broker.close()

        asyncio.run(scenario())

    @pytest.mark.parametrize("topic", ["", "a.*", "*"])
    def test_a_message_goes_to_one_topic(self, topic: str, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                with pytest.raises(BrokerError, match="published to one topic"):
                    await bench.publish(1, topic=topic)

        asyncio.run(scenario())

    def test_a_consumer_that_could_hold_nothing_is_refused(self, open_bench: Any) -> None:
        with pytest.raises(InvalidRequest, match="prefetch is 0"):
            open_bench().broker.subscribe("t", "g", prefetch=0)

    def test_a_subscription_has_to_be_entered(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                with pytest.raises(BrokerError, match="async with"):
                    await anext(bench.broker.subscribe("t", "g"))

        asyncio.run(scenario())

    def test_an_edited_message_replaces_one_letter(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                with pytest.raises(InvalidRequest, match="2 are named"):
                    await bench.broker.replay("t", ["1", "2"], edited=Message("m"))

        asyncio.run(scenario())


class TestConsumers:
    def test_what_never_waits_still_lets_others_run(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench, bench.broker.subscribe("t", "g") as subscription:
                turns = 0

                async def count() -> None:
                    nonlocal turns
                    while True:
                        turns += 1
                        await asyncio.sleep(0)

                counting = asyncio.ensure_future(count())
                await bench.publish(*range(1000))
                published = turns
                for _ in range(1000):
                    await (await anext(subscription)).ack()
                assert published >= 10
                assert turns >= published + 10
                counting.cancel()

        asyncio.run(scenario())

    def test_several_tasks_can_take_from_one_subscription(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench, bench.broker.subscribe("t", "g", prefetch=3) as subscription:
                found: list[int] = []

                async def consume() -> None:
                    async for delivery in subscription:
                        await asyncio.sleep(0)
                        found.append(delivery.message.read(int))
                        await delivery.ack()

                consumers = [asyncio.ensure_future(consume()) for _ in range(5)]
                await bench.publish(*range(200))
                while len(found) < 200:
                    await asyncio.sleep(0)
                await bench.broker.close()
                await asyncio.gather(*consumers)
                assert sorted(found) == list(range(200))

        asyncio.run(scenario())

    def test_waiting_consumers_are_served_in_turn(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with (
                open_bench() as bench,
                bench.broker.subscribe("t", "g") as one,
                bench.broker.subscribe("t", "g") as two,
            ):
                waits = [asyncio.ensure_future(anext(each)) for each in (one, two)]
                await settle()
                await bench.publish(1, 2)
                assert [(await wait).message.read(int) for wait in waits] == [1, 2]

        asyncio.run(scenario())

    def test_who_leaves_just_when_a_message_comes_leaves_it_to_others(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                async with bench.broker.subscribe("t", "g") as leaving:
                    waiting = asyncio.ensure_future(anext(leaving, None))
                    await settle()
                    await bench.publish("m")  # the message is promised to the waiting consumer, which has not run yet
                assert await waiting is None
                async with bench.broker.subscribe("t", "g") as subscription:
                    assert (await anext(subscription)).attempt == 1

        asyncio.run(scenario())

    def test_a_message_to_a_topic_without_groups_is_gone(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                await bench.publish(1)
                await bench.group()
                assert await bench.take() == []

        asyncio.run(scenario())

    def test_a_new_group_is_noticed_on_a_topic_in_use(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                await bench.publish(1, topic="t.a")
                await bench.group("t.*")
                await bench.publish(2, topic="t.a")
                assert await bench.take("t.*") == [2]

        asyncio.run(scenario())

    def test_any_number_of_topics_can_be_published_to(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                await bench.group("t.*")
                for number in range(5000):
                    await bench.publish(number, topic=f"t.{number}")
                assert await bench.take("t.*") == list(range(5000))

        asyncio.run(scenario())


class TestHealth:
    def test_it_names_the_groups_that_are_full(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=1) as bench:
                await bench.group()
                assert (await bench.broker.health()).status is HealthStatus.OK
                await bench.publish(1)
                health = await bench.broker.health()
                assert health.status is HealthStatus.DEGRADED
                assert "'g' of t" in health.detail

        asyncio.run(scenario())

    def test_it_is_down_while_closed(self, open_bench: Any) -> None:
        async def scenario() -> None:
            bench = open_bench()
            assert (await bench.broker.health()).status is HealthStatus.DOWN

        asyncio.run(scenario())
