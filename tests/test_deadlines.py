"""Timeouts of requests: on time, never early, and gone once nobody waits."""

from __future__ import annotations

import asyncio

import pytest

from aats_core.deadlines import Deadlines
from aats_core.errors import RequestTimeout


def test_a_future_fails_once_its_time_has_come_and_not_before() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        began = loop.time()
        Deadlines(loop).add(future, 0.1)
        with pytest.raises(RequestTimeout):
            await asyncio.wait_for(future, 20)
        assert loop.time() - began >= 0.1

    asyncio.run(main())


def test_those_that_come_first_fail_first() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadlines, failed = Deadlines(loop), []
        futures: list[asyncio.Future[object]] = [loop.create_future() for _ in range(3)]
        for number, (future, seconds) in enumerate(zip(futures, (0.3, 0.0, 0.15), strict=True)):
            future.add_done_callback(lambda done, number=number: failed.append((number, done.exception())))
            deadlines.add(future, seconds)
        await asyncio.wait(futures, timeout=20)
        await asyncio.sleep(0)
        assert [number for number, _ in failed] == [1, 2, 0]
        assert all(isinstance(error, RequestTimeout) for _, error in failed)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["answered", "cancelled", "discarded"])
def test_what_needs_no_timeout_any_more_is_left_alone(how: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        future: asyncio.Future[object] = loop.create_future()
        other: asyncio.Future[object] = loop.create_future()
        waiting = deadlines.add(future, 0.05)
        deadlines.add(other, 0.05)
        if how == "answered":
            future.set_result("in time")
        elif how == "cancelled":
            future.cancel()
        else:
            waiting.discard(future)
        with pytest.raises(RequestTimeout):
            await asyncio.wait_for(other, 20)
        await asyncio.sleep(0.1)
        assert (how == "answered" and future.result() == "in time") or future.cancelled() or not future.done()

    asyncio.run(main())


def test_many_waits_share_few_timers() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        timers, call_at = [], loop.call_at
        loop.call_at = lambda *args, **more: timers.append(args) or call_at(*args, **more)  # type: ignore[method-assign,assignment,func-returns-value]
        futures: list[asyncio.Future[object]] = [loop.create_future() for _ in range(1000)]
        waiting = [deadlines.add(future, 0.2) for future in futures]
        assert len(timers) < 100
        for future, bucket in zip(futures, waiting, strict=True):
            bucket.discard(future)

    asyncio.run(main())
