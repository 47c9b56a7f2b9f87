"""Runs commands the way a worker does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aats_agent_shell import Shell

from aats_core.agent import TaskContext
from aats_core.handlers import collect
from aats_core.message import Message
from aats_core.testing.fakes import FakeTaskContext, give_context
from aats_core.testing.leftovers import nothing_left


class Runner:
    """A started agent, and one task after the other on it."""

    def __init__(self, **settings: Any) -> None:
        self.agent = Shell()
        self.settings = Shell.Settings(**settings)
        self.context = FakeTaskContext("plan/task", kind="shell.run")
        self._handler = collect(Shell, TaskContext)["task", "shell.run"]

    async def run(self, command: list[str] | str, **payload: Any) -> Any:
        message = Message("shell.run", {"command": command, **payload})
        return self._handler.check_result(await self._handler.call(self.agent, message, self.context))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left(10):
        yield


@pytest.fixture
def play() -> Callable[..., Any]:
    """Run a scenario with a started agent of those settings, stop the agent, and return what the scenario does."""

    def play(scenario: Callable[[Runner], Awaitable[Any]], **settings: Any) -> Any:
        async def life() -> Any:
            runner = Runner(**{"grace": 0.2, **settings})
            give_context(runner.agent, runner.settings)
            await runner.agent.start()
            try:
                async with asyncio.timeout(60):
                    return await scenario(runner)
            finally:
                await runner.agent.stop()

        return asyncio.run(life())

    return play


@pytest.fixture
def run(play: Callable[..., Any]) -> Callable[..., Any]:
    """Run one command to its end and return its output; `settings` are those of the agent."""

    def run(command: list[str] | str, *, settings: dict[str, Any] | None = None, **payload: Any) -> Any:
        return play(lambda runner: runner.run(command, **payload), **(settings or {}))

    return run
