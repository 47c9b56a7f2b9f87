from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aats_broker_memory import MemorySettings
from pydantic import ValidationError

from aats_core.clock import settle
from aats_core.errors import BrokerUnavailable, MessageTooLarge
from aats_core.health import HealthStatus
from aats_core.message import Message


class TestBackPressure:
    def test_publish_waits_while_a_group_is_full(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=2) as bench:
                await bench.group()
                await bench.publish(1, 2)
                third, fourth = asyncio.ensure_future(bench.publish(3)), asyncio.ensure_future(bench.publish(4))
                await settle()
                assert not third.done()
                async with bench.broker.subscribe("t", "g") as subscription:
                    await (await anext(subscription)).ack()
                    await settle()
                    assert third.done()
                    assert not fourth.done()
                    await (await anext(subscription)).reject(reason="no")
                    await fourth
                assert await bench.take() == [3, 4]

        asyncio.run(scenario())

    def test_publish_gives_up_after_its_timeout(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=1, timeout=5) as bench:
                await bench.group()
                await bench.publish("accepted")
                refused = asyncio.ensure_future(bench.publish("refused"))
                await bench.clock.advance(4.9)
                assert not refused.done()
                await bench.clock.advance(0.1)
                with pytest.raises(BrokerUnavailable, match=r"^t: group 'g' of t still held 1 messages after 5 s"):
                    await refused
                assert await bench.take() == ["accepted"]
                await bench.publish("later")
                assert await bench.take() == ["later"]

        asyncio.run(scenario())

    def test_a_message_that_one_group_has_no_room_for_reaches_none(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=1, timeout=5) as bench:
                await bench.group(name="quick")
                await bench.group(name="stuck")
                await bench.publish(1)
                assert await bench.take(name="quick") == [1]
                refused = asyncio.ensure_future(bench.publish(2))
                await bench.clock.advance(5)
                with pytest.raises(BrokerUnavailable):
                    await refused
                assert await bench.take(name="quick") == []
                assert await bench.take(name="stuck") == [1]
                await bench.publish(3)
                assert await bench.take(name="quick") == await bench.take(name="stuck") == [3]

        asyncio.run(scenario())

    def test_a_cancelled_publisher_takes_no_room(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=1) as bench:
                await bench.group()
                await bench.publish(1)
                cancelled = asyncio.ensure_future(bench.publish(2))
                late = asyncio.ensure_future(bench.publish(3))
                await settle()
                async with bench.broker.subscribe("t", "g") as subscription:
                    delivery = await anext(subscription)
                    await delivery.ack()  # room is handed to the first in the queue ...
                    cancelled.cancel()  # ... who is cancelled before it can use it
                    await late
                assert cancelled.cancelled()
                assert await bench.take() == [3]

        asyncio.run(scenario())

    def test_waiting_publishers_leave_nothing_behind(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=1) as bench:
                await bench.group()
                async with bench.broker.subscribe("t", "g") as subscription:
                    publishing = asyncio.ensure_future(bench.publish(*range(500)))
                    for _ in range(500):
                        await (await anext(subscription)).ack()
                    await publishing
                assert bench.clock.sleeps <= 3, "a timer was set for every publisher that had to wait"

        asyncio.run(scenario())

    def test_a_publisher_does_not_outwait_the_broker(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=1) as bench:
                await bench.group()
                await bench.publish(1)
                waiting = asyncio.ensure_future(bench.publish(2))
                await settle()
                await bench.broker.close()
                with pytest.raises(BrokerUnavailable):
                    await waiting

        asyncio.run(scenario())

    def test_a_replay_that_finds_no_room_keeps_the_letter(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(capacity=1, timeout=5) as bench:
                await bench.group()
                await bench.broker.dead_letter("t", Message("m", "dead"), reason="r", attempts=1)
                await bench.publish("in the way")
                (letter,) = await bench.broker.dead_letters("t")
                replaying = asyncio.ensure_future(bench.broker.replay("t", [letter.id]))
                await bench.clock.advance(5)
                with pytest.raises(BrokerUnavailable):
                    await replaying
                assert await bench.broker.dead_letters("t") == [letter]

        asyncio.run(scenario())


class TestLimits:
    def test_a_message_of_64_mebibytes_passes(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                await bench.group()
                text = "x" * (64 * 1024 * 1024)
                await bench.publish(text)
                assert await bench.take() == [text]

        asyncio.run(scenario())

    def test_a_larger_message_than_the_limit_is_refused_with_both_sizes(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(max_message_bytes=500) as bench:
                await bench.group()
                with pytest.raises(
                    MessageTooLarge, match=r"t: the message 'm' has \d{4} bytes, .* 500 \(max_message_b"
                ):
                    await bench.publish("x" * 1000)
                with pytest.raises(MessageTooLarge):
                    await bench.broker.dead_letter("t", Message("m", "x" * 1000), reason="r", attempts=1)
                await bench.publish("small")
                assert await bench.take() == ["small"]

        asyncio.run(scenario())

    def test_the_oldest_dead_letter_makes_room_and_is_logged(
        self, caplog: pytest.LogCaptureFixture, open_bench: Any
    ) -> None:
        async def scenario() -> None:
            async with open_bench(max_dead_letters=2) as bench:
                for value in (1, 2, 3):
                    await bench.broker.dead_letter("t", Message("m", value), reason=f"r{value}", attempts=1)
                left = await bench.broker.dead_letters("t")
                assert [letter.message.read(int) for letter in left] == [2, 3]
                health = await bench.broker.health()
                assert health.status is HealthStatus.DEGRADED
                assert "1 dead letters dropped" in health.detail

        with caplog.at_level(logging.WARNING):
            asyncio.run(scenario())
        assert "dead letter 1 of t dropped" in caplog.text
        assert "(r1)" in caplog.text

    @pytest.mark.parametrize("field", ["capacity", "max_message_bytes", "max_dead_letters", "lease", "timeout"])
    def test_no_bound_can_be_nothing(self, field: str) -> None:
        with pytest.raises(ValidationError, match=field):
            MemorySettings.model_validate({field: 0})
