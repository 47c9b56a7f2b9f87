"""Effects: recorded before and after, so that no repetition does them twice and no doubt is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aats_store_sqlite import SqliteStore
from aats_store_sqlite.settings import SqliteSettings

from aats_core.clock import RealClock
from aats_core.effects import COLLECTION, TaskEffects
from aats_core.errors import Conflict, EffectUnknown, StoreError, TaskFailed
from aats_core.settings import TeamInfo
from aats_core.store import Put, RecordStore


class World:
    """A store with a task in its present attempt, and something that can be done to the world."""

    def __init__(self, records: RecordStore) -> None:
        self.records = records
        self.done = 0
        self.error: BaseException | None = None

    async def begin(self, attempt: int) -> TaskEffects:
        await self.records.write([Put("tasks", {"_id": "p/t", "attempt": attempt})])
        return TaskEffects(self.records, "p/t", attempt)

    async def do(self) -> dict[str, int]:
        self.done += 1
        if self.error is not None:
            raise self.error
        return {"times": self.done}

    async def kept(self) -> dict[str, Any] | None:
        found = await self.records.find(COLLECTION, {"_id": "p/t:key"})
        return found[0] if found else None

    async def break_off(self) -> None:
        """Do the effect in attempt 1 so that nobody learns how it ended."""
        effects, self.error = await self.begin(1), ConnectionError("no answer")
        with pytest.raises(ConnectionError):
            await effects.once("key", self.do)
        self.error = None


def play(path: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        store = SqliteStore(SqliteSettings(), TeamInfo(state_dir=path), RealClock())
        await store.connect()
        try:
            await scenario(World(next(part for part in store.capabilities if isinstance(part, RecordStore))))
        finally:
            await store.close()

    asyncio.run(main())


def test_it_is_done_once_and_every_repetition_gets_the_recorded_outcome(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        effects = await world.begin(1)
        assert [await effects.once("key", world.do) for _ in range(3)] == [{"times": 1}] * 3
        assert await (await world.begin(2)).once("key", world.do) == {"times": 1}
        assert world.done == 1

    play(tmp_path, scenario)


def test_the_intent_is_kept_before_anything_is_done(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async def look() -> str:
            kept = await world.kept()
            assert kept is not None
            return str(kept["state"])

        assert await (await world.begin(1)).once("key", look) == "intent"
        kept = await world.kept()
        assert kept is not None
        assert (kept["state"], kept["attempt"]) == ("done", 1)

    play(tmp_path, scenario)


def test_keys_are_told_apart_and_so_are_tasks(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        effects = await world.begin(1)
        assert await effects.once("key", world.do) == {"times": 1}
        assert await effects.once("other", world.do) == {"times": 2}
        await world.records.write([Put("tasks", {"_id": "p/u", "attempt": 1})])
        assert await TaskEffects(world.records, "p/u", 1).once("key", world.do) == {"times": 3}

    play(tmp_path, scenario)


def test_an_effect_whose_outcome_is_not_known_is_not_done_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.break_off()
        effects = await world.begin(2)
        with pytest.raises(EffectUnknown, match="effect 'key' was begun in attempt 1 and its outcome is not known"):
            await effects.once("key", world.do)
        assert world.done == 1

    play(tmp_path, scenario)


def test_a_cancellation_in_the_middle_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        effects = await world.begin(1)
        doing = asyncio.ensure_future(effects.once("key", asyncio.Event().wait))
        while await world.kept() is None:
            await asyncio.sleep(0.001)
        doing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doing
        with pytest.raises(EffectUnknown):
            await (await world.begin(2)).once("key", world.do)
        assert world.done == 0

    play(tmp_path, scenario)


@pytest.mark.parametrize(("truth", "times"), [({"times": 1}, 1), (None, 2)])
def test_a_check_says_what_became_of_it(tmp_path: Path, truth: Any, times: int) -> None:
    asked: list[str] = []

    async def check(key: str) -> Any:
        asked.append(key)
        return truth

    async def scenario(world: World) -> None:
        await world.break_off()
        effects = await world.begin(2)
        assert await effects.once("key", world.do, check=check) == {"times": times}
        assert await effects.once("key", world.do, check=check) == {"times": times}
        assert world.done == times

    play(tmp_path, scenario)
    assert asked == ["key"]


def test_what_may_be_done_twice_is_done_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.break_off()
        assert await (await world.begin(2)).once("key", world.do, idempotent=True) == {"times": 2}
        assert world.done == 2

    play(tmp_path, scenario)


def test_one_that_says_it_did_not_happen_leaves_no_trace_and_is_done_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        effects, world.error = await world.begin(1), TaskFailed("refused")
        with pytest.raises(TaskFailed, match="refused"):
            await effects.once("key", world.do)
        assert await world.kept() is None
        world.error = None
        assert await (await world.begin(2)).once("key", world.do) == {"times": 2}

    play(tmp_path, scenario)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_attempt_that_was_taken_away_begins_nothing(tmp_path: Path, moment: str) -> None:
    async def nobody_knows(key: str) -> None:
        return None

    async def scenario(world: World) -> None:
        if moment == "after":
            await world.break_off()
        before = world.done
        late = await world.begin(2)
        await world.begin(3)
        with pytest.raises(Conflict):
            await late.once("key", world.do, check=nobody_knows)
        assert world.done == before

    play(tmp_path, scenario)


def test_of_those_who_do_it_at_the_same_time_one_does(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        effects = await world.begin(1)
        ends = await asyncio.gather(*(effects.once("key", world.do) for _ in range(20)), return_exceptions=True)
        assert world.done == 1
        assert all(end == {"times": 1} or isinstance(end, EffectUnknown) for end in ends)
        assert {"times": 1} in ends

    play(tmp_path, scenario)


def test_an_outcome_that_cannot_be_kept_leaves_the_effect_unknown(tmp_path: Path) -> None:
    async def do() -> object:
        return object()

    async def scenario(world: World) -> None:
        with pytest.raises(StoreError):
            await (await world.begin(1)).once("key", do)
        with pytest.raises(EffectUnknown):
            await (await world.begin(2)).once("key", do)

    play(tmp_path, scenario)


def test_writes_to_the_own_store_wait_for_the_result(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        effects = await world.begin(1)
        effects.store(Put("c", {"_id": 1}))
        effects.store(Put("c", {"_id": 2}), Put("c", {"_id": 3}))
        assert [write.document["_id"] for write in effects.writes if isinstance(write, Put)] == [1, 2, 3]
        assert await world.records.count("c") == 0

    play(tmp_path, scenario)


def test_without_a_store_it_says_what_is_missing_and_does_nothing() -> None:
    async def do() -> None:
        raise AssertionError("done")

    with pytest.raises(StoreError, match=r"add \[stores.primary\] to the team file"):
        asyncio.run(TaskEffects(None, "p/t", 1).once("key", do))
