"""Transactions that are left open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aats_core.errors import DuplicateKey, StoreError


def test_a_transaction_whose_next_step_does_not_come_is_rolled_back(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store(transaction_timeout=0.05) as store:
            records = store.capabilities[0]

            async def dawdle() -> None:
                async with records.transaction() as transaction:
                    await transaction.insert("a", {"_id": 1})
                    await records.insert("a", {"_id": 2})  # waits until the writer is free again
                    await transaction.insert("a", {"_id": 3})

            with pytest.raises(StoreError, match=r"rolled back: its next step did not come within 0\.05 seconds"):
                await dawdle()
            assert await records.find("a") == [{"_id": 2}]

    asyncio.run(scenario())


def test_one_that_is_left_too_late_says_that_nothing_was_kept(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store(transaction_timeout=0.05) as store:
            records = store.capabilities[0]

            async def dawdle() -> None:
                async with records.transaction() as transaction:
                    await transaction.insert("a", {"_id": 1})
                    await records.insert("a", {"_id": 2})

            with pytest.raises(StoreError, match="rolled back"):
                await dawdle()
            assert await records.find("a") == [{"_id": 2}]

    asyncio.run(scenario())


def test_what_was_kept_of_a_transaction_is_refused_after_its_end(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            async with records.transaction() as transaction:
                await transaction.insert("a", {"_id": 1})
            with pytest.raises(StoreError, match="has ended"):
                await transaction.insert("a", {"_id": 2})
            assert await records.count("a") == 1

    asyncio.run(scenario())


def test_closing_the_store_waits_for_a_transaction_that_is_open(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            async with records.transaction() as transaction:
                await transaction.insert("a", {"_id": 1})
                closing = asyncio.create_task(store.close())
                await asyncio.sleep(0.01)
                await transaction.insert("a", {"_id": 2})
                assert not closing.done()
            await closing
        async with open_store() as store:
            assert await store.capabilities[0].count("a") == 2

    asyncio.run(scenario())


def test_a_step_that_fails_within_takes_nothing_else_with_it(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store() as store:
            records = store.capabilities[0]
            async with records.transaction() as transaction:
                await transaction.insert("a", {"_id": 1})
                with pytest.raises(DuplicateKey):
                    await transaction.insert("a", {"_id": 2}, {"_id": 1})
                await transaction.insert("b", {"_id": 1})
            assert await records.find("a") == [{"_id": 1}]
            assert await records.find("b") == [{"_id": 1}]

    asyncio.run(scenario())
