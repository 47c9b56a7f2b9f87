"""Concurrent calls travel together, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from aats_core.batching import Batcher


class Line:
    """Sends batches when it is told to, doubles each number, and refuses what is negative."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, items: list[int]) -> Sequence[int | BaseException]:
        self.batches.append(items)
        await self.open.wait()
        if 0 in items:
            raise ZeroDivisionError("a zero")
        return [item * 2 if item > 0 else ValueError(f"{item} is negative") for item in items]


def test_calls_of_one_turn_share_a_batch_and_get_their_own_answers() -> None:
    async def scenario() -> None:
        line = Line()
        batcher = Batcher(line.send)
        assert await asyncio.gather(*(batcher.do(n) for n in (1, 2, 3))) == [2, 4, 6]
        assert line.batches == [[1, 2, 3]]

    asyncio.run(scenario())


def test_what_comes_while_a_batch_is_under_way_waits_for_the_next() -> None:
    async def scenario() -> None:
        line = Line()
        line.open.clear()
        batcher = Batcher(line.send)
        calls = [asyncio.create_task(batcher.do(1))]
        await asyncio.sleep(0.01)
        calls += [asyncio.create_task(batcher.do(n)) for n in (2, 3)]
        await asyncio.sleep(0.01)
        assert len(batcher) == 2
        line.open.set()
        await asyncio.gather(*calls)
        assert line.batches == [[1], [2, 3]]

    asyncio.run(scenario())


def test_a_batch_has_its_limit() -> None:
    async def scenario() -> None:
        line = Line()
        batcher = Batcher(line.send, limit=2)
        await asyncio.gather(*(batcher.do(n) for n in range(1, 6)))
        assert line.batches == [[1, 2], [3, 4], [5]]

    asyncio.run(scenario())


def test_lanes_are_under_way_at_once() -> None:
    async def scenario() -> None:
        line = Line()
        line.open.clear()
        batcher = Batcher(line.send, lanes=2)
        first = asyncio.create_task(batcher.do(1))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(batcher.do(2))
        await asyncio.sleep(0.01)
        assert line.batches == [[1], [2]]
        line.open.set()
        assert await asyncio.gather(first, second) == [2, 4]

    asyncio.run(scenario())


def test_an_item_that_is_refused_harms_no_other() -> None:
    async def scenario() -> None:
        batcher = Batcher(Line().send)
        answers = await asyncio.gather(batcher.do(1), batcher.do(-1), batcher.do(2), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["2", "-1 is negative", "4"]

    asyncio.run(scenario())


def test_a_batch_that_fails_fails_each_of_its_calls_and_no_later_one() -> None:
    async def scenario() -> None:
        batcher = Batcher(Line().send)
        answers = await asyncio.gather(batcher.do(1), batcher.do(0), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ZeroDivisionError] * 2
        assert await batcher.do(3) == 6

    asyncio.run(scenario())


def test_a_caller_that_gives_up_before_its_batch_sends_nothing() -> None:
    async def scenario() -> None:
        line = Line()
        line.open.clear()
        batcher = Batcher(line.send)
        first = asyncio.create_task(batcher.do(1))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(batcher.do(2))
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        line.open.set()
        assert await first == 2
        await batcher.drain()
        assert line.batches == [[1]]

    asyncio.run(scenario())


def test_draining_waits_for_everything() -> None:
    async def scenario() -> None:
        line = Line()
        batcher = Batcher(line.send)
        calls = [asyncio.create_task(batcher.do(n)) for n in (1, 2)]
        await asyncio.sleep(0)
        await batcher.drain()
        assert all(call.done() for call in calls)

    asyncio.run(scenario())
