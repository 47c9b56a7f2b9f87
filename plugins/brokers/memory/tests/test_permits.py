from __future__ import annotations

import asyncio

import pytest
from aats_broker_memory.permits import Permits


def test_permits_are_taken_and_given_back() -> None:
    permits = Permits(2)
    assert [permits.take_now() for _ in range(3)] == [True, True, False]
    assert permits.exhausted
    permits.put()
    assert not permits.exhausted


def test_who_waits_is_served_first_come_first_served() -> None:
    async def main() -> None:
        permits, served = Permits(0), list[int]()

        async def take(number: int) -> None:
            assert await permits.take(set())
            served.append(number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(take(number))
            await asyncio.sleep(0)
            for _ in range(4):
                permits.put()
        assert served == [0, 1, 2, 3]
        assert permits.exhausted

    asyncio.run(main())


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_cancelled_taker_loses_no_permit(*, handed_over: bool) -> None:
    async def main() -> None:
        permits = Permits(0)
        cancelled, next_one = (asyncio.ensure_future(permits.take(set())) for _ in range(2))
        await asyncio.sleep(0)
        if handed_over:
            permits.put()
            cancelled.cancel()
        else:
            cancelled.cancel()
            permits.put()
        assert await next_one
        assert cancelled.cancelled() or cancelled.cancelling()
        assert permits.exhausted

    asyncio.run(main())


def test_waiting_can_be_ended_without_a_permit() -> None:
    async def main() -> None:
        permits, waiters = Permits(0), set[asyncio.Future[bool]]()
        taking = asyncio.ensure_future(permits.take(waiters))
        await asyncio.sleep(0)
        (future,) = waiters
        future.set_result(False)
        permits.put()
        assert await taking is False
        assert not waiters
        assert permits.take_now(), "the permit went to somebody who had stopped waiting"

    asyncio.run(main())


def test_waits_given_up_leave_nothing_behind() -> None:
    async def main() -> None:
        permits, waiters = Permits(0), set[asyncio.Future[bool]]()
        for _ in range(100):
            taking = asyncio.ensure_future(permits.take(waiters))
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait({taking})
        assert not waiters
        permits.put()
        assert permits.take_now()

    asyncio.run(main())


def test_nobody_waits_while_a_permit_is_free() -> None:
    async def main() -> None:
        permits, waiters = Permits(1), set[asyncio.Future[bool]]()
        assert await permits.take(waiters)
        assert permits.exhausted

    asyncio.run(main())
