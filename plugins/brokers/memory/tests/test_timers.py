from __future__ import annotations

import asyncio

from aats_broker_memory.timers import Expiry, Timers
from hypothesis import given
from hypothesis import strategies as st

from aats_core.clock import VirtualClock, settle


@given(st.lists(st.integers(0, 100), max_size=20))
def test_calls_are_made_at_their_times_in_order(times: list[int]) -> None:
    async def main() -> list[tuple[float, float]]:
        clock, made = VirtualClock(), list[tuple[float, float]]()
        timers = Timers(clock)
        timers.start()
        for when in times:
            timers.call_at(when, lambda when=when: made.append((when, clock.monotonic())))
            await settle(2)
        await clock.advance(100)
        await timers.stop()
        return made

    assert asyncio.run(main()) == [(when, when) for when in sorted(times)]


def test_a_call_may_set_another() -> None:
    async def main() -> list[float]:
        clock, made = VirtualClock(), list[float]()
        timers = Timers(clock)
        timers.start()

        def tick() -> None:
            made.append(clock.monotonic())
            if len(made) < 3:
                timers.call_at(clock.monotonic() + 1, tick)

        timers.call_at(1, tick)
        await clock.advance(10)
        await timers.stop()
        return made

    assert asyncio.run(main()) == [1, 2, 3]


def test_calls_wait_while_stopped() -> None:
    async def main() -> None:
        clock, made = VirtualClock(), list[float]()
        timers = Timers(clock)
        timers.call_at(1, lambda: made.append(clock.monotonic()))
        timers.start()
        await settle()
        await timers.stop()
        await timers.stop()
        await clock.advance(5)
        assert made == []
        timers.start()
        await settle()
        assert made == [5]

    asyncio.run(main())


def test_an_item_expires_unless_discarded_or_renewed() -> None:
    async def main() -> None:
        clock, expired = VirtualClock(), list[tuple[str, float]]()
        timers = Timers(clock)
        timers.start()
        expiry = Expiry[str](timers, clock, 10, lambda item: expired.append((item, clock.monotonic())))
        for item in ("kept", "discarded", "renewed"):
            expiry.add(item)
            await clock.advance(1)
        assert expiry.discard("discarded")
        assert not expiry.discard("discarded")
        await clock.advance(4)
        expiry.renew("renewed")
        expiry.renew("never added")
        await clock.advance(100)
        assert expired == [("kept", 10), ("renewed", 17)]
        expiry.add("again")
        await clock.advance(10)
        assert expired[-1] == ("again", 117)
        await timers.stop()

    asyncio.run(main())


def test_all_items_can_be_expired_at_once() -> None:
    async def main() -> None:
        clock, expired = VirtualClock(), list[int]()
        expiry = Expiry[int](Timers(clock), clock, 10, expired.append)
        for item in range(3):
            expiry.add(item)
        expiry.expire_all()
        assert expired == [0, 1, 2]
        assert not expiry.discard(0)

    asyncio.run(main())
