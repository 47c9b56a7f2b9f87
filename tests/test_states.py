"""The durable state of agents: versioned, so that nobody overwrites what he has not seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aats_store_sqlite import SqliteStore
from aats_store_sqlite.settings import SqliteSettings

from aats_core.clock import RealClock
from aats_core.errors import Conflict, StoreError
from aats_core.settings import TeamInfo
from aats_core.states import AgentStates
from aats_core.store import RecordStore


def play(path: Path, scenario: Callable[[RecordStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = SqliteStore(SqliteSettings(), TeamInfo(state_dir=path), RealClock())
        await store.connect()
        try:
            await scenario(next(part for part in store.capabilities if isinstance(part, RecordStore)))
        finally:
            await store.close()

    asyncio.run(main())


def test_a_state_that_was_never_saved_is_empty_and_of_version_0(tmp_path: Path) -> None:
    async def scenario(records: RecordStore) -> None:
        assert await AgentStates(records).load("nobody") == (0, {})

    play(tmp_path, scenario)


def test_each_save_is_a_version_of_its_own_and_outlives_the_store(tmp_path: Path) -> None:
    async def save(records: RecordStore) -> None:
        states = AgentStates(records)
        assert await states.save("a", {"n": 1}, 0) == 1
        assert await states.save("a", {"n": 2}, 1) == 2
        assert await states.save("b", {"n": 9}, 0) == 1

    async def load(records: RecordStore) -> None:
        assert await AgentStates(records).load("a") == (2, {"n": 2})
        assert await AgentStates(records).load("b") == (1, {"n": 9})

    play(tmp_path, save)
    play(tmp_path, load)


@pytest.mark.parametrize("version", [0, 1, 3])
def test_who_has_not_seen_the_latest_state_cannot_overwrite_it(tmp_path: Path, version: int) -> None:
    async def scenario(records: RecordStore) -> None:
        states = AgentStates(records)
        await states.save("a", {"n": 2}, await states.save("a", {"n": 1}, 0))
        with pytest.raises(Conflict, match="the state of a changed since it was loaded"):
            await states.save("a", {"n": 3}, version)
        assert await states.load("a") == (2, {"n": 2})

    play(tmp_path, scenario)


def test_of_those_who_save_the_same_version_at_once_one_wins(tmp_path: Path) -> None:
    async def scenario(records: RecordStore) -> None:
        states = AgentStates(records)
        ends = await asyncio.gather(*(states.save("a", {"n": n}, 0) for n in range(20)), return_exceptions=True)
        assert [end for end in ends if not isinstance(end, Conflict)] == [1]
        assert (await states.load("a"))[1] == {"n": ends.index(1)}

    play(tmp_path, scenario)


def test_without_a_store_it_says_what_is_missing() -> None:
    async def main() -> None:
        with pytest.raises(StoreError, match=r"add \[stores.primary\] to the team file"):
            await AgentStates(None).load("a")
        with pytest.raises(StoreError, match=r"add \[stores.primary\] to the team file"):
            await AgentStates(None).save("a", {}, 0)

    asyncio.run(main())
