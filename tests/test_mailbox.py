"""Mailboxes: order, bounds, and that no wake-up is lost, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from aats_core.mailbox import Mailbox


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(main())


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def take(mailbox: Mailbox[int]) -> int:
    while not mailbox:
        await mailbox.wait()
    return mailbox.take()


def test_items_leave_in_the_order_in_which_they_came() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(3)
        assert [mailbox.offer(number) for number in range(5)] == [True, True, True, False, False]
        assert [mailbox.take() for _ in range(len(mailbox))] == [0, 1, 2]
        with pytest.raises(IndexError):
            mailbox.take()

    play(scenario)


def test_what_was_accepted_before_goes_in_even_where_it_is_full() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(1)
        assert mailbox.offer(1)
        mailbox.force(2)
        assert not mailbox.offer(3)
        assert [mailbox.take(), mailbox.take()] == [1, 2]

    play(scenario)


def test_one_taker_is_woken_for_each_item() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(10)
        takers = [asyncio.ensure_future(take(mailbox)) for _ in range(3)]
        await turns()
        mailbox.offer(1)
        await turns()
        assert [taker.done() for taker in takers].count(True) == 1
        assert mailbox.idle
        mailbox.offer(2)
        mailbox.offer(3)
        assert sorted(await asyncio.gather(*takers)) == [1, 2, 3]
        assert not mailbox.idle

    play(scenario)


def test_a_taker_that_was_woken_and_cancelled_hands_its_item_to_another() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(10)
        takers = [asyncio.ensure_future(take(mailbox)) for _ in range(2)]
        await turns()
        mailbox.offer(1)
        takers[1].cancel()  # the one that came last is woken first
        await turns()
        assert takers[1].cancelled()
        assert await takers[0] == 1

    play(scenario)


def test_a_taker_that_is_cancelled_while_it_waits_is_not_woken_any_more() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(10)
        takers = [asyncio.ensure_future(take(mailbox)) for _ in range(2)]
        await turns()
        takers[1].cancel()
        await turns()
        mailbox.offer(1)
        assert await takers[0] == 1

    play(scenario)


def test_senders_wait_while_it_is_full_and_get_in_by_turns() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(1)
        senders = [asyncio.ensure_future(mailbox.put(number)) for number in range(4)]
        await turns()
        assert [sender.done() for sender in senders] == [True, False, False, False]
        taken = []
        while len(taken) < 4:
            taken.append(await take(mailbox))
            await turns()
        assert taken == [0, 1, 2, 3]
        assert await asyncio.gather(*senders) == [True] * 4

    play(scenario)


def test_a_sender_that_was_let_in_and_cancelled_lets_the_next_one_in() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(1)
        mailbox.offer(0)
        senders = [asyncio.ensure_future(mailbox.put(number)) for number in (1, 2)]
        await turns()
        mailbox.take()
        senders[0].cancel()
        await turns()
        assert senders[0].cancelled()
        assert await senders[1]
        assert mailbox.take() == 2

    play(scenario)


def test_a_sender_that_was_overtaken_keeps_its_place_in_the_line() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(1)
        mailbox.offer(0)
        senders = [asyncio.ensure_future(mailbox.put(number)) for number in (1, 2)]
        await turns()
        mailbox.take()
        assert mailbox.offer(9)  # before the sender that was let in had its turn
        await turns()
        taken = []
        for _ in range(3):
            taken.append(mailbox.take())
            await turns()
        assert taken == [9, 1, 2]
        assert all(sender.done() for sender in senders)

    play(scenario)


def test_closing_returns_what_nobody_took_and_sends_the_senders_away() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(2)
        mailbox.offer(1)
        mailbox.offer(2)
        sender = asyncio.ensure_future(mailbox.put(3))
        await turns()
        assert mailbox.close() == [1, 2]
        assert await sender is False
        assert await mailbox.put(4) is False
        assert not mailbox.offer(5)
        assert mailbox.close() == []

    play(scenario)


def test_hundreds_of_senders_and_takers_that_are_cancelled_at_random_lose_nothing() -> None:
    seed = random.SystemRandom().randrange(10**9)
    randomness = random.Random(seed)

    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox(1)
        taken: list[int] = []

        async def take_on() -> None:
            while True:
                taken.append(await take(mailbox))
                if randomness.random() < 0.5:
                    await asyncio.sleep(0)

        takers = [asyncio.ensure_future(take_on()) for _ in range(5)]
        senders = [asyncio.ensure_future(mailbox.put(number)) for number in range(500)]
        sent = set(range(500))
        for _ in range(150):
            victim = randomness.randrange(500)
            senders[victim].cancel()
            crashed = randomness.randrange(5)
            takers[crashed].cancel()
            await asyncio.sleep(0)
            takers[crashed] = asyncio.ensure_future(take_on())
        ends = await asyncio.gather(*senders, return_exceptions=True)
        sent -= {number for number, end in enumerate(ends) if isinstance(end, asyncio.CancelledError)}
        while len(taken) < len(sent):
            await asyncio.sleep(0)
        assert sorted(taken) == sorted(sent), f"seed {seed}"
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)

    play(scenario)
