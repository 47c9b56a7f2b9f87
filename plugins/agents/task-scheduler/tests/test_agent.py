"""The agent around the core: what it hears, what it sends, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aats_agent_task_scheduler import TaskScheduler
from aats_agent_task_scheduler.durations import COLLECTION
from aats_agent_task_scheduler.settings import SchedulerSettings
from pydantic import ValidationError

from aats_core.clock import VirtualClock, settle
from aats_core.settings import TeamInfo
from aats_core.store import RecordStore
from aats_core.task import (
    PROJECT_MANAGER,
    PlanAdded,
    PlanRemoved,
    SchedulerDecisions,
    SchedulerNews,
    Task,
    TaskEnded,
    TaskReady,
    TaskRunning,
    Wait,
    WorkerGone,
    WorkerStatus,
)
from aats_core.testing.fakes import FakeAgentContext

PLAN = PlanAdded("p", 5, None, (Task("a", "k"), Task("b", "k")))
READY = (TaskReady("p", "a", 1), TaskReady("p", "b", 1))


class Desk:
    """A scheduler that has started, and what it sent."""

    def __init__(self, records: RecordStore, *, lease: float = 30.0) -> None:
        self.clock = VirtualClock()
        settings = SchedulerSettings()
        self.agent = TaskScheduler(settings, TeamInfo(lease=lease), self.clock, records)
        self.context = FakeAgentContext(settings, name="task-scheduler", clock=self.clock)
        self.agent.context = self.context

    async def news(self, *words: object) -> None:
        await self.agent.news(SchedulerNews(words))

    async def worker(self, name: str = "w", *, slots: int = 1, running: tuple[tuple[str, int], ...] = ()) -> None:
        await self.agent.worker_status(WorkerStatus(name, ("k",), slots, running=running))

    async def sent(self) -> list[SchedulerDecisions]:
        """Return the decisions sent since the last call."""
        await settle()
        sent, self.context.sent = self.context.sent, []
        assert {(each.receiver, each.type) for each in sent} <= {(PROJECT_MANAGER, "tasks.decided")}
        return [each.payload for each in sent]

    async def assigned(self) -> list[tuple[str, str, int]]:
        return [(each.name, each.worker, each.attempt) for sent in await self.sent() for each in sent.assigned]

    async def expired(self) -> list[tuple[str, str, int]]:
        return [(each.name, each.worker, each.attempt) for sent in await self.sent() for each in sent.expired]


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[Desk]:
    await desk.agent.start()
    desk.context.sent.clear()
    try:
        yield desk
    finally:
        await desk.context.end()
        await desk.agent.stop()


def play(records: RecordStore, scene: Callable[[Desk], Awaitable[None]], **options: float) -> None:
    async def life() -> None:
        async with running(Desk(records, **options)) as desk:
            await scene(desk)

    asyncio.run(life())


def test_it_asks_the_project_manager_for_everything_when_it_starts(records) -> None:
    async def scene() -> None:
        desk = Desk(records)
        await desk.agent.start()
        assert [(each.how, each.receiver, each.type) for each in desk.context.sent] == [
            ("send", PROJECT_MANAGER, "scheduler.started")
        ]
        await desk.context.end()

    asyncio.run(scene())


def test_it_assigns_at_once_all_that_can_be_assigned_in_one_message(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker(slots=2)
        await desk.news(PLAN, *READY)

        (decisions,) = await desk.sent()
        assert [(each.name, each.worker, each.lease) for each in decisions.assigned] == [
            ("a", "w", 30.0),
            ("b", "w", 30.0),
        ]
        assert decisions.expired == ()

    play(records, scene)


def test_it_knows_all_the_news_before_it_decides(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker()
        urgent = PlanAdded("q", 1, None, (Task("c", "k"),))
        await desk.news(PLAN, *READY, urgent, TaskReady("q", "c", 1))

        assert await desk.assigned() == [("c", "w", 1)]

    play(records, scene)


def test_a_worker_that_is_freed_or_joins_gets_the_next_task(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.news(PLAN, *READY)
        assert await desk.assigned() == []
        await desk.worker()
        assert await desk.assigned() == [("a", "w", 1)]

        await desk.news(TaskEnded("p", "a", 1, "w", 2.0, final=True))
        assert await desk.assigned() == [("b", "w", 1)]

    play(records, scene)


def test_a_retry_begins_when_its_time_has_come(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.news(PLAN, TaskReady("p", "a", 2, desk.clock.time() + 12.0))
        await desk.clock.advance(11.9)
        assert await desk.assigned() == []

        await desk.clock.advance(0.1)
        assert await desk.assigned() == [("a", "w", 2)]

    play(records, scene)


def test_an_earlier_time_is_noticed_while_a_later_one_is_waited_for(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.news(PLAN, TaskReady("p", "a", 1, desk.clock.time() + 20.0))
        await settle()
        await desk.news(TaskReady("p", "b", 1, desk.clock.time() + 5.0))

        await desk.clock.advance(5.0)
        assert await desk.assigned() == [("b", "w", 1)]

    play(records, scene)


def test_a_silent_workers_lease_expires_without_any_message(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.news(PLAN, READY[0])
        await desk.sent()
        await desk.clock.advance(29.0)
        assert await desk.sent() == []

        await desk.clock.advance(1.0)
        assert await desk.expired() == [("a", "w", 1)]

    play(records, scene)


def test_heartbeats_keep_a_task_that_takes_hours(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.news(PLAN, READY[0])
        await desk.sent()

        for _ in range(720):
            await desk.clock.advance(10.0)
            await desk.worker(running=(("p/a", 1),))
        assert await desk.sent() == []

    play(records, scene)


def test_heartbeats_that_waited_while_the_process_was_held_up_still_count(records) -> None:
    """A process that was stopped, or swapped out, wakes to timers that are all overdue."""

    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.news(PLAN, READY[0])
        await desk.sent()
        await settle()

        desk.clock._elapsed += 500.0
        await desk.clock.advance(0.0)
        assert await desk.sent() == []
        await desk.news(TaskEnded("ghost", "a", 1, "w", None, final=True))
        await desk.worker(running=(("p/a", 1),))
        await desk.clock.advance(5.0)
        assert await desk.sent() == []

    play(records, scene)


def test_it_takes_over_what_ran_before_it_started(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker(running=(("p/a", 3),))
        await desk.news(PLAN, TaskRunning("p", "a", 3, "w"), READY[1])
        assert await desk.assigned() == []

        await desk.news(TaskEnded("p", "a", 3, "w", 2.0, final=True))
        assert await desk.assigned() == [("b", "w", 1)]

    play(records, scene)


def test_what_ran_on_a_worker_that_died_with_the_team_runs_again_soon(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.news(PLAN, TaskRunning("p", "a", 3, "w"))
        await desk.worker()
        await desk.clock.advance(1.0)

        assert await desk.expired() == [("a", "w", 3)]

    play(records, scene)


def test_a_worker_that_takes_leave_gets_nothing_more(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.agent.worker_gone(WorkerGone("w"))
        await desk.news(PLAN, *READY)

        assert await desk.assigned() == []
        assert await desk.agent.explain("p/a") == "no worker offers kind k"
        assert await desk.agent.explain_many(["p/a"]) == [Wait("no worker offers kind k", stuck=True)]

    play(records, scene)


def test_a_draining_scheduler_assigns_nothing(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.agent.drain()
        await desk.news(PLAN, *READY)

        assert await desk.assigned() == []
        assert "draining" in await desk.agent.explain("p/a")

    play(records, scene)


def test_a_removed_plan_is_forgotten(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.news(PLAN, *READY, PlanRemoved("p"))
        await desk.worker()

        assert await desk.assigned() == []

    play(records, scene)


def test_what_is_learned_is_written_within_a_second_and_used_after_a_restart(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.news(PLAN, *READY)
        for name, seconds in (("a", 2.0), ("b", 90.0)):
            await desk.news(TaskEnded("p", name, 1, "w", seconds, final=True))
        assert records.commits == 0
        await desk.clock.advance(1.0)
        assert records.commits == 1
        await desk.clock.advance(60.0)
        assert records.commits == 1

    async def next_day(desk: Desk) -> None:
        await desk.worker()
        await desk.news(PLAN, *READY)
        assert await desk.assigned() == [("b", "w", 1)]

    play(records, scene)
    play(records, next_day)


def test_what_is_learned_last_is_written_when_it_stops(records) -> None:
    async def scene(desk: Desk) -> None:
        await desk.news(PLAN, *READY, TaskEnded("p", "a", 1, "w", 2.0, final=True))

    play(records, scene)

    assert records.collections[COLLECTION]["k a"]["mean"] == 2.0


def test_a_failing_store_does_not_keep_it_from_scheduling(records) -> None:
    records.down = True

    async def scene(desk: Desk) -> None:
        await desk.worker()
        await desk.news(PLAN, *READY)
        assert await desk.assigned() == [("a", "w", 1)]
        await desk.news(TaskEnded("p", "a", 1, "w", 2.0, final=True))
        await desk.clock.advance(5.0)
        assert await desk.assigned() == [("b", "w", 1)]

        records.down = False
        await desk.clock.advance(1.0)
        assert records.collections[COLLECTION]["k a"]["mean"] == 2.0

    play(records, scene)


def test_decisions_gather_while_the_project_manager_takes_none(records) -> None:
    """The handlers go on, so that neither waits for the other."""

    async def scene(desk: Desk) -> None:
        taken = asyncio.Event()
        send = desk.context.send

        async def slow(*args: object, **options: object) -> None:
            await taken.wait()
            await send(*args, **options)

        desk.context.send = slow
        await desk.worker(slots=2)
        for word in (PLAN, *READY):
            await desk.news(word)
            await settle()
        assert await desk.sent() == []

        taken.set()
        first, second = await desk.sent()
        assert [each.name for each in first.assigned] == ["a"]
        assert [each.name for each in second.assigned] == ["b"]

    play(records, scene)


def test_there_is_only_one_scheduler() -> None:
    with pytest.raises(ValidationError, match="replicas"):
        SchedulerSettings(replicas=2)
