"""Calls functions the way a worker of the team does."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aats_agent_python import Python

from aats_core.agent import TaskContext
from aats_core.handlers import collect
from aats_core.message import Message
from aats_core.testing.fakes import FakeTaskContext, give_context
from aats_core.testing.leftovers import nothing_left


class Runner:
    """A started agent, and the calls that it is asked for."""

    def __init__(self, **settings: Any) -> None:
        self.agent = Python()
        self.settings = Python.Settings(**settings)
        self._handler = collect(Python, TaskContext)["task", "python.call"]

    async def call(self, function: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        payload = {"function": function, "args": list(args), "kwargs": kwargs, "timeout": timeout}
        return await self._handler.call(self.agent, Message("python.call", payload), FakeTaskContext("plan/task"))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left(10):
        yield


@pytest.fixture
def modules(tmp_path: Path) -> Callable[..., Path]:
    """Write modules, by name, and return the directory they lie in."""

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            file = tmp_path.joinpath("modules", *name.split("__")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source))
        return tmp_path / "modules"

    return write


@pytest.fixture
def play(modules: Callable[..., Path]) -> Callable[..., Any]:
    """Run a scenario with a started agent that finds a module `jobs` of that source."""

    def play(source: str, scenario: Callable[[Runner], Awaitable[Any]], **settings: Any) -> Any:
        async def life() -> Any:
            runner = Runner(**{"path": [modules(jobs=source)], **settings})
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
def call(play: Callable[..., Any]) -> Callable[..., Any]:
    """Call `jobs:f` of that source and return its result."""

    def call(source: str, *args: Any, function: str = "jobs:f", settings: Any = None, **kwargs: Any) -> Any:
        return play(source, lambda runner: runner.call(function, *args, **kwargs), **(settings or {}))

    return call
