"""How it stops: what was begun is written, unless the store does not take it in time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aats_agent_project_manager import ProjectManagerSettings
from pydantic import ValidationError

from aats_core.task import Assign, SchedulerDecisions, Task


def test_it_writes_what_is_still_to_be_written(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(Task("a", "k"))
        await office.assign(plan, "a")
        office.gate.shut()
        await office.manager.result(await office.result(plan, "a", output=7))
        stopping = asyncio.create_task(office.manager.stop())
        await asyncio.sleep(0.01)
        assert not stopping.done()
        office.gate.open()
        await stopping
        assert (await office.stored(plan, "a"))["output"] == 7
        assert await office.state(plan) == "done"

    play(scenario)


def test_a_store_that_does_not_take_it_in_time_holds_nobody_up_for_ever(play, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(Task("a", "k"))
        office.cut_off()
        await office.manager.decided(SchedulerDecisions((Assign(plan, "a", 1, "w", 30.0),)))
        with caplog.at_level(logging.ERROR):
            await office.manager.stop()
        assert "their tasks run again after a restart" in caplog.text
        await office.restart()
        assert await office.states(plan) == {"a": "ready"}

    play(scenario, grace=0.05)


def test_once_assignments_end_those_before_are_on_their_way_and_no_other_follows(play) -> None:
    async def scenario(office: Any) -> None:
        plan = await office.submit(Task("a", "k"), Task("b", "k"))
        office.gate.shut()
        await office.manager.decided(SchedulerDecisions((Assign(plan, "a", 1, "w", 30.0),)))
        ending = asyncio.ensure_future(office.ask(office.manager.end_assignments()))
        await asyncio.sleep(0.01)
        assert not ending.done()
        office.gate.open()
        await ending
        assert office.assignments() == [("a", 1)]
        await office.manager.decided(SchedulerDecisions((Assign(plan, "b", 1, "w", 30.0),)))
        await office.rest()
        assert await office.states(plan) == {"a": "running", "b": "ready"}

    play(scenario)


def test_it_answers_that_it_has_read_its_inbox(play) -> None:
    async def scenario(office: Any) -> None:
        assert await office.manager.inbox_read() is None

    play(scenario)


@pytest.mark.parametrize("section", [{"replicas": 2}, {"retry_delay": 0}, {"retry_delay": "soon"}, {"mailbox": 0}])
def test_settings_that_make_no_sense_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProjectManagerSettings(**section)


def test_times_may_be_written_as_people_write_them() -> None:
    assert ProjectManagerSettings(retry_delay="1m30s").retry_delay == 90.0
