"""The contract of agents finds fault with careless agents, each in the test that is meant for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import Field

from aats_core.agent import Agent, TaskContext
from aats_core.handlers import on, task
from aats_core.settings import AgentSettings
from aats_core.testing.agents import AgentContract
from aats_core.testing.fakes import give_context
from aats_core.testing.leftovers import child_processes, nothing_left


class Work(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float


class Careful(Agent):
    """Sleeps as long as it is told."""

    class Settings(AgentSettings):
        factor: Annotated[float, Field(description="By what every time is multiplied.", examples=[2])] = 1.0

    ticking = False

    async def start(self) -> None:
        if not self.ticking:
            self.ticking = True
            self.spawn(asyncio.Event().wait())

    async def stop(self) -> None:
        self.ticking = False

    @task("test.sleep")
    async def sleep(self, work: Work, ctx: TaskContext) -> dict[str, float]:
        """Sleep."""
        await ctx.report("sleeping")
        await asyncio.sleep(work.seconds * self.settings.factor)
        return {"slept": work.seconds}

    @on("ping")
    async def ping(self, name: str) -> str:
        """Answer."""
        return f"pong, {name}"

    @on("status")
    async def status(self) -> str:
        """Say how it is."""
        return "well"


class TestCareful(AgentContract):
    """The contract itself, on an agent that keeps it."""

    def make_agent(self) -> Agent:
        return Careful()

    def sample_payloads(self) -> dict[str, Any]:
        return {"test.sleep": Work(0.0)}

    def slow_payloads(self) -> dict[str, Any]:
        return {"test.sleep": {"seconds": 1000}}


class Undocumented(Careful):
    pass


class Undescribed(Careful):
    """Has a setting that nobody understands."""

    class Settings(AgentSettings):
        x: int = 1


class SilentHandler(Careful):
    """Has a handler that nobody understands."""

    @on("mystery")
    async def mystery(self, x: int) -> None: ...


class NoSchema(Careful):
    """Takes what JSON cannot carry."""

    @on("odd")
    async def odd(self, x: complex) -> None:
        """Take it."""


class TakesAnything(Careful):
    """Takes anything."""

    @on("anything")
    async def anything(self, x: Any) -> None:
        """Take it."""


class MoreKinds(Careful):
    """Runs a kind of task for which there is no sample."""

    @task("test.other")
    async def other(self, work: Work) -> None:
        """Do nothing."""


class WrongOutput(Careful):
    """Returns what its annotation does not allow."""

    @task("test.sleep")
    async def sleep(self, work: Work) -> dict[str, float]:
        """Return something else."""
        return {"slept": "well"}


class OddOutput(Careful):
    """Returns what JSON cannot carry."""

    @task("test.sleep")
    async def sleep(self, work: Work) -> Any:
        """Return it."""
        return object()


class Deaf(Careful):
    """Does not hear that it is cancelled."""

    @task("test.sleep")
    async def sleep(self, work: Work) -> str:
        """Sleep."""
        try:
            await asyncio.sleep(work.seconds)
        except asyncio.CancelledError:
            return "slept"
        return "slept"


class Stubborn(Careful):
    """Goes on for long after it is cancelled."""

    @task("test.sleep")
    async def sleep(self, work: Work) -> str:
        """Clean up at leisure."""
        try:
            await asyncio.sleep(work.seconds)
        finally:
            await self._clean_up()
        return "slept"

    async def _clean_up(self) -> None:
        until = asyncio.get_running_loop().time() + 1
        while asyncio.get_running_loop().time() < until:
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue


class LeavesTask(Careful):
    """Leaves a task behind."""

    async def start(self) -> None:
        self.left = asyncio.get_running_loop().create_task(asyncio.sleep(0.1))


class LeavesThread(Careful):
    """Leaves a thread behind."""

    async def start(self) -> None:
        self.ended = threading.Event()
        threading.Thread(target=self.ended.wait, args=[1.5], daemon=True).start()


class LeavesProcess(Careful):
    """Leaves a process behind."""

    started: list[subprocess.Popen[bytes]] = []  # noqa: RUF012 - the test ends what is in it

    async def start(self) -> None:
        self.started.append(subprocess.Popen(["sleep", "1000"]))  # noqa: ASYNC220


class StopsOnce(Careful):
    """Cannot be stopped twice."""

    async def start(self) -> None:
        self.open = True

    async def stop(self) -> None:
        del self.open


def contract_of(agent: type[Agent]) -> AgentContract:
    class Contract(TestCareful):
        patience = 0.5

        def make_agent(self) -> Agent:
            return agent()

        def sample_payloads(self) -> dict[str, Any]:
            return {"test.sleep": {"seconds": 0}}

    return Contract()


@pytest.mark.parametrize(
    ("agent", "fails", "reason"),
    [
        (Undocumented, "test_the_class_is_documented", "docstring"),
        (Undescribed, "test_every_setting_is_described", "without a description: x"),
        (SilentHandler, "test_every_handler_is_documented", "without a docstring: mystery"),
        (NoSchema, "test_every_payload_has_a_schema", "complex"),
        (MoreKinds, "test_every_kind_of_task_has_a_sample_payload", "test.other"),
        (TakesAnything, "test_a_payload_that_does_not_fit_never_reaches_the_handler", "anything takes anything"),
        (WrongOutput, "test_a_task_gives_an_output_that_its_annotation_allows_and_json_carries", "not allow"),
        (OddOutput, "test_a_task_gives_an_output_that_its_annotation_allows_and_json_carries", "object"),
        (Deaf, "test_a_cancelled_task_ends_promptly", "swallowed its cancellation"),
        (Stubborn, "test_a_cancelled_task_ends_promptly", "still runs"),
        (LeavesTask, "test_starting_and_stopping_twice_is_harmless", "tasks are left"),
        (LeavesThread, "test_starting_and_stopping_twice_is_harmless", "left behind: <Thread"),
        (LeavesProcess, "test_starting_and_stopping_twice_is_harmless", "left behind: process .*sleep 1000"),
        (StopsOnce, "test_starting_and_stopping_twice_is_harmless", "open"),
    ],
)
def test_a_careless_agent_fails(agent: type[Agent], fails: str, reason: str) -> None:
    test: Callable[[], None] = getattr(contract_of(agent), fails)
    try:
        with pytest.raises(Exception, match=reason):
            test()
    finally:
        for left in LeavesProcess.started:
            left.kill()
            left.wait()
        LeavesProcess.started.clear()


def test_a_payload_that_does_not_fit_its_kind_is_said() -> None:
    class Contract(TestCareful):
        def sample_payloads(self) -> dict[str, Any]:
            return {"test.sleep": {"seconds": "long"}}

    with pytest.raises(AssertionError, match=r"sample payload of test\.sleep does not fit"):
        Contract().test_a_payload_that_fits_is_taken_in_either_form()


def test_a_slow_payload_that_is_not_slow_is_said() -> None:
    class Contract(TestCareful):
        def slow_payloads(self) -> dict[str, Any]:
            return {"test.sleep": {"seconds": 0}}

    with pytest.raises(AssertionError, match=r"slow payload of test\.sleep is not slow"):
        Contract().test_a_cancelled_task_ends_promptly()


def test_the_agents_own_context_is_kept() -> None:
    class Contract(TestCareful):
        def make_agent(self) -> Agent:
            agent = Careful()
            give_context(agent, Careful.Settings(factor=0.0))
            return agent

        def sample_payloads(self) -> dict[str, Any]:
            return {"test.sleep": {"seconds": 1000}}

    Contract().test_a_task_gives_an_output_that_its_annotation_allows_and_json_carries()


class TestLeftovers:
    def test_a_child_that_nobody_waited_for_is_a_leftover(self) -> None:
        child = subprocess.Popen(["true"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.pid in child_processes()
        child.wait()
        assert child.pid not in child_processes()

    def test_what_was_there_before_is_none(self) -> None:
        with subprocess.Popen(["sleep", "1000"]) as child, nothing_left(0.1):
            child.kill()

    def test_what_ends_in_time_is_none(self) -> None:
        with nothing_left(10):
            threading.Thread(target=threading.Event().wait, args=[0.05]).start()
