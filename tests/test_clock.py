from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.clock import Clock, RealClock, VirtualClock, settle


class TestRealClock:
    def test_it_shows_the_time_of_the_machine(self) -> None:
        clock = RealClock()
        assert abs(clock.time() - time.time()) < 60
        assert clock.monotonic() <= clock.monotonic()

    def test_it_sleeps_at_least_as_long_as_told(self) -> None:
        clock = RealClock()
        began = clock.monotonic()
        asyncio.run(clock.sleep(0.01))
        assert clock.monotonic() - began >= 0.01

    @pytest.mark.parametrize("clock", [RealClock(), VirtualClock()])
    @pytest.mark.parametrize("seconds", [0, -1])
    def test_to_sleep_no_time_lets_others_run_once(self, clock: Clock, seconds: float) -> None:
        async def main() -> list[str]:
            log: list[str] = []
            other = asyncio.ensure_future(record(log))
            await clock.sleep(seconds)
            log.append("woke")
            await other
            return log

        async def record(log: list[str]) -> None:
            log.append("other")

        assert asyncio.run(main()) == ["other", "woke"]


class TestVirtualClock:
    def test_it_stands_still_until_it_is_advanced(self) -> None:
        async def main() -> None:
            clock = VirtualClock(start=100.0)
            assert (clock.time(), clock.monotonic()) == (100.0, 0.0)
            await clock.advance(2.5)
            assert (clock.time(), clock.monotonic()) == (102.5, 2.5)

        asyncio.run(main())

    def test_a_sleeper_wakes_at_its_moment_and_not_before(self) -> None:
        async def main() -> None:
            clock = VirtualClock()
            sleeper = asyncio.ensure_future(clock.sleep(10))
            await clock.advance(9.999)
            assert not sleeper.done()
            await clock.advance(0.001)
            assert sleeper.done()

        asyncio.run(main())

    @given(st.lists(st.floats(0.001, 1000), max_size=20))
    def test_sleepers_wake_in_order_and_each_sees_its_own_time(self, waits: list[float]) -> None:
        async def main() -> list[tuple[float, float]]:
            clock, woken = VirtualClock(), list[tuple[float, float]]()

            async def sleep(seconds: float) -> None:
                await clock.sleep(seconds)
                woken.append((seconds, clock.monotonic()))

            async with asyncio.TaskGroup() as tasks:
                for seconds in waits:
                    tasks.create_task(sleep(seconds))
                await clock.advance(1000)
            return woken

        woken = asyncio.run(main())
        assert woken == [(seconds, seconds) for seconds in sorted(waits)]

    def test_equal_moments_wake_in_the_order_of_falling_asleep(self) -> None:
        async def main() -> list[int]:
            clock, woken = VirtualClock(), list[int]()

            async def sleep(number: int) -> None:
                await clock.sleep(1)
                woken.append(number)

            async with asyncio.TaskGroup() as tasks:
                for number in range(5):
                    tasks.create_task(sleep(number))
                await clock.advance(1)
            return woken

        assert asyncio.run(main()) == [0, 1, 2, 3, 4]

    def test_who_sleeps_again_wakes_again_within_one_advance(self) -> None:
        async def main() -> list[float]:
            clock, seen = VirtualClock(), list[float]()

            async def tick() -> None:
                while True:
                    await clock.sleep(1)
                    seen.append(clock.monotonic())

            ticking = asyncio.ensure_future(tick())
            await clock.advance(3.5)
            ticking.cancel()
            return seen

        assert asyncio.run(main()) == [1.0, 2.0, 3.0]

    def test_a_cancelled_sleeper_disturbs_nobody(self) -> None:
        async def main() -> None:
            clock = VirtualClock()
            cancelled, kept = asyncio.ensure_future(clock.sleep(1)), asyncio.ensure_future(clock.sleep(2))
            await settle()
            cancelled.cancel()
            await clock.advance(2)
            assert cancelled.cancelled()
            assert kept.done()
            assert not kept.cancelled()

        asyncio.run(main())

    def test_it_serves_one_event_loop_after_another(self) -> None:
        clock = VirtualClock()

        async def leave_a_sleeper() -> None:
            asyncio.ensure_future(clock.sleep(5))  # noqa: RUF006 - the end of the loop cancels it
            await settle()

        async def advance() -> float:
            await clock.advance(10)
            return clock.monotonic()

        asyncio.run(leave_a_sleeper())
        assert asyncio.run(advance()) == 10.0


def test_settling_lets_a_chain_of_tasks_finish() -> None:
    async def main() -> list[int]:
        done: list[int] = []

        async def link(number: int) -> None:
            if number:
                await asyncio.ensure_future(link(number - 1))
            done.append(number)

        chain = asyncio.ensure_future(link(5))
        await settle()
        assert chain.done()
        return done

    assert asyncio.run(main()) == [0, 1, 2, 3, 4, 5]
