"""What is told to the scheduler and the workers, in how many messages, and at whose wish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aats_agent_project_manager.outbox import Outbox

from aats_core.agent import Agent
from aats_core.clock import settle
from aats_core.errors import UnknownReceiver
from aats_core.policy import current_subject
from aats_core.task import TaskAssignment, TaskCancel, TaskReady
from aats_core.testing.fakes import FakeAgentContext

ORDER = TaskAssignment("p", "a", "k", {}, 1, 30.0)
STOP = TaskCancel("p", "a", 1, "enough")


class Context(FakeAgentContext):
    """Records at whose wish each message is sent, and knows no worker named ghost."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    async def send(self, receiver: str, type: str, payload: Any, **options: Any) -> None:
        if receiver == "ghost":
            raise UnknownReceiver("no agent is named 'ghost'")
        self.subjects.append(current_subject())
        await super().send(receiver, type, payload, **options)


def play(scenario: Callable[[Outbox, Context], Awaitable[None]]) -> None:
    async def life() -> None:
        agent, context = Agent(), Context()
        agent.context = context
        outbox = Outbox(agent)
        running = asyncio.create_task(outbox.run())
        await scenario(outbox, context)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(life())


def test_all_that_the_scheduler_is_to_hear_by_then_travels_in_one_message_in_order() -> None:
    async def scenario(outbox: Outbox, context: Context) -> None:
        for number in range(100):
            outbox.tell(TaskReady("p", f"t{number}", 1))
        await settle()
        (sent,) = context.sent
        assert (sent.receiver, sent.type) == ("task-scheduler", "scheduler.news")
        assert [word.name for word in sent.payload.words] == [f"t{number}" for number in range(100)]
        outbox.tell(TaskReady("p", "later", 1))
        await settle()
        assert len(context.sent) == 2

    play(scenario)


def test_workers_hear_their_orders_in_order() -> None:
    async def scenario(outbox: Outbox, context: Context) -> None:
        outbox.order("w1", ORDER, "")
        outbox.order("w1", STOP, "")
        outbox.order("w2", ORDER, "")
        await settle()
        assert [(sent.receiver, sent.type) for sent in context.sent] == [
            ("w1", "task.assignment"),
            ("w1", "task.stop"),
            ("w2", "task.assignment"),
        ]

    play(scenario)


def test_a_task_runs_at_the_wish_of_whoever_submitted_it() -> None:
    async def scenario(outbox: Outbox, context: Context) -> None:
        outbox.order("w", ORDER, "ada")
        outbox.order("w", ORDER, "bob")
        outbox.tell(TaskReady("p", "a", 1))
        await settle()
        assert context.subjects == ["ada", "bob", ""]

    play(scenario)


def test_that_one_worker_cannot_be_told_keeps_nobody_else_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(outbox: Outbox, context: Context) -> None:
        outbox.order("ghost", ORDER, "")
        outbox.order("w", ORDER, "")
        outbox.tell(TaskReady("p", "a", 1))
        await settle()
        assert [sent.receiver for sent in context.sent] == ["w", "task-scheduler"]

    with caplog.at_level(logging.WARNING):
        play(scenario)
    assert "ghost was not told task.assignment" in caplog.text
