"""Of two project managers on one store one leads; the other passes on, takes over, and refuses a late leader."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aats_agent_project_manager import ProjectManager, ProjectManagerSettings

from aats_core.clock import settle
from aats_core.errors import InvalidRequest, LeaseLost, UnknownReceiver
from aats_core.settings import TeamInfo
from aats_core.task import Outcome, Task, TaskResult
from aats_core.testing.fakes import FakeAgentContext, give_context

TASKS = (Task("a", "k"), Task("b", "k", needs=("a",)))


class Rival:
    """A project manager on the store of an office, as another host has it."""

    def __init__(self, office: Any, directory: Path) -> None:
        self.office = office
        info = TeamInfo(state_dir=directory, node="other", grace=5.0)
        self.manager = ProjectManager(office.records, office._kinds, office.clock, info, office.hooks)
        self.context: FakeAgentContext = give_context(self.manager, ProjectManagerSettings())

    async def take_over(self) -> None:
        """Let the time of the lease pass without a sign of the office's own manager, and wait until this one leads."""
        while not self.manager._leadership.leads:
            await self.office.clock.advance(1.0)
            await asyncio.sleep(0.001)


@pytest.fixture
def duel(play, tmp_path):
    """Run a scenario with an office that leads and a rival that stands by."""

    def run(scenario) -> None:
        async def life(office) -> None:
            rival = Rival(office, tmp_path)
            await rival.manager.start()
            try:
                await scenario(office, rival)
            finally:
                await rival.context.end()

        play(life)

    return run


def test_the_second_stands_by_and_says_who_leads(duel) -> None:
    async def scenario(office, rival) -> None:
        plan = await office.submit(*TASKS)

        assert not rival.manager._leadership.leads
        assert rival.context.sent == []
        assert (await rival.manager.show_plan(plan)).plan.id == plan
        assert await rival.manager._leadership.leader() == "local"

    duel(scenario)


def test_what_people_decide_is_passed_on_to_the_one_that_leads(duel) -> None:
    async def scenario(office, rival) -> None:
        manager, leader = rival.manager, f"{rival.manager.name}@local"
        handlers = {
            "plan.submit": manager.submit,
            "task.cancel": manager.cancel,
            "task.retry": manager.retry,
            "task.settle": manager.settle,
        }
        rival.context.answers = {(leader, kind): kind for kind in handlers}

        assert [await office.ask(handler(None)) for handler in handlers.values()] == list(handlers)
        await manager.result(TaskResult("p", "a", 1, "w", Outcome.DONE, seconds=1.0))

        assert [(sent.receiver, sent.type) for sent in rival.context.sent][-1] == (leader, "task.result")

    duel(scenario)


def test_where_no_broker_reaches_the_leader_it_is_said_where_to_ask(duel) -> None:
    async def scenario(office, rival) -> None:
        rival.context.answers = {(f"{rival.manager.name}@local", "plan.submit"): UnknownReceiver()}

        with pytest.raises(InvalidRequest, match="node local leads the team, and the broker does not reach it"):
            await office.ask(rival.manager.submit(None))

    duel(scenario)


def test_it_takes_over_once_the_leader_is_gone_and_goes_on_with_its_plans(duel) -> None:
    async def scenario(office, rival) -> None:
        plan = await office.submit(*TASKS)
        await office.run(plan, "a")
        await office.context.end()  # killed

        await rival.take_over()
        await settle()

        detail = await rival.manager.show_plan(plan)
        assert [task.state.value for task in detail.tasks] == ["done", "ready"]
        words = [word for sent in rival.context.sent if sent.type == "scheduler.news" for word in sent.payload.words]
        assert ("TaskReady", "b") in [(type(word).__name__, getattr(word, "name", "")) for word in words]

    duel(scenario)


def test_what_an_older_leader_writes_is_refused_and_it_crashes(duel) -> None:
    async def scenario(office, rival) -> None:
        plan = await office.submit(*TASKS)
        await office.assign(plan, "a")
        held_up = next(task for task in office.context._spawned if "keep" in str(task.get_coro()))
        held_up.cancel()  # it gives no sign any more
        await rival.take_over()
        before = await office.stored(plan, "a")

        await office.manager.result(await office.result(plan, "a"))
        await office.manager._journal.flush()

        assert await office.stored(plan, "a") == before
        with pytest.raises(LeaseLost):
            await office.context.end()

    duel(scenario)


def test_one_that_stops_leaves_the_lead_at_once(duel) -> None:
    async def scenario(office, rival) -> None:
        await office.manager.stop()
        began = office.clock.monotonic()

        await rival.take_over()

        assert office.clock.monotonic() - began < 30

    duel(scenario)


def test_one_that_comes_back_under_the_same_name_leads_at_once(play) -> None:
    async def scenario(office) -> None:
        plan = await office.submit(*TASKS)
        began = office.clock.monotonic()

        await office.restart()

        assert office.clock.monotonic() == began
        assert await office.states(plan) == {"a": "ready", "b": "waiting"}

    play(scenario)
