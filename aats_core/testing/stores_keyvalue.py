"""Key-values: values with a time to live, counters and rate limits."""

from __future__ import annotations

import asyncio
from typing import Any

from aats_core.errors import StoreError
from aats_core.store import KeyValueStore
from aats_core.testing.stores_harness import StoreHarness, promise

KEPT: tuple[Any, ...] = (
    *(None, True, False, 0, -5, 2**53 + 1, 1.5, "", "text", "\u00e9\U0001f600\U0010ffff"),
    *([], [1, [None, "a"]], {}, {"a": {"b": [1.5, False]}}, b"", b"\x00bytes\xff"),
)


class KeyValuePromises(StoreHarness[KeyValueStore]):
    """Values under string keys."""

    @promise()
    async def test_a_value_is_what_was_put_there_last(self, values: KeyValueStore) -> None:
        key = self.new_name()
        assert await values.get(key) is None
        for value in KEPT:
            await values.put(key, value)
            found = await values.get(key)
            assert found == value, f"{value!r} came back as {found!r}"
            assert type(found) is type(value), f"{value!r} came back as {found!r}"

    @promise()
    async def test_keys_are_told_apart(self, values: KeyValueStore) -> None:
        key = self.new_name()
        keys = [key, f"{key} ", f"{key}%", key.upper(), f"{key}'; --", f"{key}\u00e9", f"{key}*"]
        for number, each in enumerate(keys):
            await values.put(each, number)
        assert [await values.get(each) for each in keys] == list(range(len(keys)))

    @promise()
    async def test_what_cannot_be_kept_is_refused(self, values: KeyValueStore) -> None:
        key = self.new_name()
        async with self.expect(StoreError, key):
            await values.put(key, object())
        assert await values.get(key) is None

    @promise()
    async def test_a_delete_tells_whether_there_was_a_value(self, values: KeyValueStore) -> None:
        key = self.new_name()
        assert not await values.delete(key)
        await values.put(key, 1)
        assert await values.delete(key)
        assert await values.get(key) is None
        assert not await values.delete(key)

    @promise()
    async def test_a_value_is_gone_after_its_time(self, values: KeyValueStore) -> None:
        key, other = self.new_name(), self.new_name()
        await values.put(key, "short", ttl=1.0)
        await values.put(other, "for good")
        assert await values.get(key) == "short"
        await self.advance_time(1.2)
        assert await values.get(key) is None
        assert not await values.delete(key)
        assert await values.increment(key) == 1
        assert await values.get(other) == "for good"

    @promise()
    async def test_putting_again_says_anew_how_long(self, values: KeyValueStore) -> None:
        kept, shortened = self.new_name(), self.new_name()
        await values.put(kept, 1, ttl=1.0)
        await values.put(kept, 2)
        await values.put(shortened, 1)
        await values.put(shortened, 2, ttl=1.0)
        await self.advance_time(1.2)
        assert [await values.get(kept), await values.get(shortened)] == [2, None]

    @promise()
    async def test_a_time_that_is_none_is_refused(self, values: KeyValueStore) -> None:
        for ttl in (0.0, -1.0):
            async with self.expect(StoreError):
                await values.put(self.new_name(), 1, ttl=ttl)

    @promise()
    async def test_an_increment_begins_at_zero_and_returns_the_sum(self, values: KeyValueStore) -> None:
        key = self.new_name()
        assert [await values.increment(key), await values.increment(key, 5), await values.increment(key, -7)] == [
            1,
            6,
            -1,
        ]
        assert await values.get(key) == -1
        await values.put(key, 41)
        assert await values.increment(key) == 42

    @promise()
    async def test_increments_at_the_same_time_all_count(self, values: KeyValueStore) -> None:
        key = self.new_name()
        sums = await asyncio.gather(*(values.increment(key) for _ in range(50)))
        assert sorted(sums) == list(range(1, 51))

    @promise()
    async def test_what_is_no_integer_cannot_be_incremented(self, values: KeyValueStore) -> None:
        key = self.new_name()
        await values.put(key, "text")
        async with self.expect(StoreError, key):
            await values.increment(key)
        assert await values.get(key) == "text"

    @promise("reopening")
    async def test_values_outlive_the_store(self, values: KeyValueStore) -> None:
        key = self.new_name()
        await values.put(key, {"a": 1})
        async with self.client() as again:
            assert await again.get(key) == {"a": 1}

    @promise()
    async def test_a_limit_gives_so_many_permits_and_then_says_how_long_to_wait(self, values: KeyValueStore) -> None:
        key = self.new_name()
        given = [await values.limit(key, rate=3, per=3.0) for _ in range(3)]
        assert given == [0.0, 0.0, 0.0]
        wait = await values.limit(key, rate=3, per=3.0)
        assert 0.0 < wait <= 3.0

    @promise()
    async def test_a_permit_is_there_after_the_wait(self, values: KeyValueStore) -> None:
        key = self.new_name()
        while (wait := await values.limit(key, rate=2, per=1.0)) == 0.0:
            pass
        await self.advance_time(wait + 0.01)
        assert await values.limit(key, rate=2, per=1.0) == 0.0

    @promise()
    async def test_a_limit_holds_over_a_long_time(self, values: KeyValueStore) -> None:
        key, taken = self.new_name(), 0
        for _ in range(20):
            while await values.limit(key, rate=5, per=1.0) == 0.0:
                taken += 1
                assert taken < 100, "a limit never says to wait"
            await self.advance_time(0.1)
        assert 10 <= taken <= 20, f"{taken} permits in 2 s at 5 a second, after at most 5 at once"

    @promise()
    async def test_limits_are_told_apart(self, values: KeyValueStore) -> None:
        one, other = self.new_name(), self.new_name()
        assert await values.limit(one, rate=1, per=60.0) == 0.0
        assert await values.limit(other, rate=1, per=60.0) == 0.0
        assert await values.limit(one, rate=1, per=60.0) > 0.0

    @promise()
    async def test_no_more_permits_are_given_at_the_same_time(self, values: KeyValueStore) -> None:
        key = self.new_name()
        waits = await asyncio.gather(*(values.limit(key, rate=5, per=60.0) for _ in range(30)))
        assert waits.count(0.0) == 5
