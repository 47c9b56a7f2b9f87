from __future__ import annotations

import asyncio
from typing import Any

from aats_broker_memory import MemoryBroker, MemorySettings

from aats_core.clock import settle
from aats_core.message import Message


class TestTime:
    def test_an_idle_broker_never_wakes(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench, bench.broker.subscribe("t", "g") as subscription:
                waiting = asyncio.ensure_future(anext(subscription))
                await bench.clock.advance(3600)
                assert bench.clock.sleeps == 0
                assert len(asyncio.all_tasks()) == 2  # this one and the waiting consumer
                await bench.publish(1)
                await waiting

        asyncio.run(scenario())

    def test_all_times_hang_on_one_sleeper(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench, bench.broker.subscribe("t", "g", prefetch=1000) as subscription:
                for delay in range(500):
                    await bench.publish(delay, not_before=bench.clock.time() + 60 + delay)
                await bench.publish(*range(500))
                for _ in range(500):
                    await anext(subscription)
                await settle()
                assert len(asyncio.all_tasks()) == 2  # this one and the sleeper

        asyncio.run(scenario())

    def test_the_earliest_time_wins_whatever_was_set_first(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(lease=1000) as bench:
                await bench.group()
                now = bench.clock.time()
                await bench.publish("slow", not_before=now + 10)
                await settle()
                await bench.publish("quick", not_before=now + 1)
                await bench.clock.advance(1)
                assert await bench.take() == ["quick"]
                await bench.clock.advance(9)
                assert await bench.take() == ["slow"]

        asyncio.run(scenario())

    def test_settled_messages_leave_no_timers(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench(lease=10) as bench:
                await bench.group()
                for _ in range(20):
                    await bench.publish(*range(50))
                    await bench.take()
                await bench.clock.advance(100)
                assert bench.clock.sleeps <= 3

        asyncio.run(scenario())

    def test_time_stands_still_between_close_and_connect(self, open_bench: Any) -> None:
        async def scenario() -> None:
            async with open_bench() as bench:
                await bench.group()
                await bench.publish("later", not_before=bench.clock.time() + 10)
                await bench.broker.close()
                await bench.clock.advance(10)
                await bench.broker.connect()
                await settle()
                assert await bench.take() == ["later"]

        asyncio.run(scenario())

    def test_the_real_clock_serves_too(self) -> None:
        async def scenario() -> None:
            broker = MemoryBroker(MemorySettings(lease=0.02))
            await broker.connect()
            async with broker.subscribe("t", "g") as subscription:
                due = broker.clock.time() + 0.02
                await broker.publish("t", Message("m"), not_before=due)
                delivery = await anext(subscription)
                assert broker.clock.time() >= due
                again = await anext(subscription)
                assert (delivery.attempt, again.attempt) == (1, 2)
                await again.ack()
            await broker.close()

        asyncio.run(scenario())
