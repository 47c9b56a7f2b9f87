"""The journal: order, batches, and what happens where the store will not take something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aats_agent_project_manager.journal import BATCH, Entry, Journal
from aats_agent_project_manager.leadership import Leadership
from aats_store_sqlite import SqliteStore

from aats_core.clock import VirtualClock, settle
from aats_core.errors import DuplicateKey, StoreFull, StoreUnavailable
from aats_core.settings import TeamInfo
from aats_core.store import Insert, Put, Write

DELAY = 5.0


class Desk:
    """A journal on a real store, and what became of each entry, in the order in which that was told."""

    def __init__(self, gate: Any) -> None:
        self.gate = gate
        self.clock = VirtualClock()
        self.leadership = Leadership(gate, TeamInfo(), self.clock)
        self.journal = Journal(gate, self.clock, self.leadership)
        self.told: list[tuple[str, str]] = []

    def add(self, name: str, *writes: Write, patient: bool = True) -> None:
        self.journal.add(
            Entry(
                writes or (Put("a", {"_id": name}),),
                lambda: self.told.append((name, "durable")),
                lambda error: self.told.append((name, type(error).__name__)),
                patient=patient,
            )
        )

    async def wait(self) -> None:
        async with asyncio.timeout(20):
            await self.journal.flush()

    async def tried(self, times: int) -> None:
        """Wait until the store was tried so often."""
        async with asyncio.timeout(20):
            while self.gate.tried < times:
                await asyncio.sleep(0)
        await settle()

    async def ids(self) -> list[str]:
        return [found["_id"] for found in await self.gate.find("a")]


@pytest.fixture
def play(tmp_path: Path, make_gate: Callable[..., Any]) -> Callable[[Callable[[Desk], Awaitable[None]]], None]:
    def run(scenario: Callable[[Desk], Awaitable[None]]) -> None:
        async def life() -> None:
            store = SqliteStore(SqliteStore.Settings(), TeamInfo(state_dir=tmp_path), VirtualClock())
            await store.connect()
            desk = Desk(make_gate(store.capabilities[0]))
            assert await desk.leadership.seize()
            desk.gate.forget()
            running = asyncio.create_task(desk.journal.run(DELAY))
            try:
                async with asyncio.timeout(60):
                    await scenario(desk)
            finally:
                running.cancel()
                await asyncio.wait([running])
                await store.close()

        asyncio.run(life())

    return run


def test_what_gathers_while_a_commit_runs_goes_into_the_next_one_in_order(play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.gate.shut()
        desk.add("first")
        await desk.tried(1)
        for number in range(100):
            desk.add(f"n{number}")
        desk.gate.open()
        await desk.wait()
        assert [len(commit) for commit in desk.gate.commits] == [1, 100]
        assert desk.told == [("first", "durable"), *((f"n{number}", "durable") for number in range(100))]

    play(scenario)


def test_a_commit_holds_a_bounded_number_of_entries(play) -> None:
    async def scenario(desk: Desk) -> None:
        for number in range(BATCH + 1):
            desk.add(f"n{number}")
        await desk.wait()
        assert [len(commit) for commit in desk.gate.commits] == [BATCH, 1]

    play(scenario)


def test_it_waits_for_what_follows_from_an_entry_too(play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.journal.add(Entry((), lambda: desk.add("consequence"), lambda _: None))
        await desk.wait()
        assert await desk.ids() == ["consequence"]

    play(scenario)


def test_an_entry_that_the_store_refuses_harms_no_other_of_its_batch(play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.gate.insert("a", {"_id": "taken"})
        desk.add("one")
        desk.add("bad", Put("a", {"_id": "half"}), Insert("a", {"_id": "taken"}))
        desk.add("two")
        await desk.wait()
        assert desk.told == [("one", "durable"), ("bad", DuplicateKey.__name__), ("two", "durable")]
        assert sorted(await desk.ids()) == ["one", "taken", "two"]

    play(scenario)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreFull("full")])
def test_while_the_store_is_away_the_patient_wait_and_the_others_are_refused(
    play, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aats.project-manager")

    async def scenario(desk: Desk) -> None:
        desk.gate.error = error
        desk.add("patient")
        desk.add("hasty", patient=False)
        await desk.tried(3)
        assert desk.told == [("hasty", type(error).__name__)]
        assert desk.journal.trouble == str(error)

        desk.add("hasty too", patient=False)
        desk.add("later")
        await desk.clock.advance(DELAY)
        assert desk.told[1:] == [("hasty too", type(error).__name__)]

        desk.gate.error = None
        await desk.clock.advance(DELAY)
        await desk.wait()
        assert desk.told[2:] == [("patient", "durable"), ("later", "durable")]
        assert desk.journal.trouble == ""
        assert await desk.ids() == ["patient", "later"]

    play(scenario)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_it_tries_again_as_often_as_the_setting_says(play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.gate.error = StoreUnavailable("away")
        desk.add("patient")
        await desk.tried(2)
        for _ in range(3):
            tried = desk.gate.tried
            await desk.clock.advance(DELAY - 0.1)
            assert desk.gate.tried == tried
            await desk.clock.advance(0.1)
            assert desk.gate.tried == tried + 1
        desk.gate.error = None
        await desk.clock.advance(DELAY)
        await desk.wait()

    play(scenario)


def test_nobody_waits_for_a_journal_that_has_broken(play) -> None:
    async def scenario(desk: Desk) -> None:
        journal = Journal(desk.gate, desk.clock, desk.leadership)

        def fail() -> None:
            raise ValueError("a fault in what follows")

        journal.add(Entry((), fail, lambda _: None))
        with pytest.raises(ValueError, match="a fault"):
            await journal.run(DELAY)
        async with asyncio.timeout(20):
            await journal.flush()

    play(scenario)
