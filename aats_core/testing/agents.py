"""The contract suite of agents: subclass `AgentContract`, say how to make the agent, and run it with pytest."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import msgspec
import pytest

from aats_core.agent import Agent, TaskContext
from aats_core.errors import InvalidPayload
from aats_core.handlers import Handler, collect
from aats_core.message import Message, decode, encode
from aats_core.settings import AgentSettings
from aats_core.testing.fakes import FakeAgentContext, FakeTaskContext, give_context
from aats_core.testing.leftovers import nothing_left

MISFITS: tuple[Any, ...] = (None, True, 0, 1.5, "", [], {}, [[]], {"": {}})
"""Payloads of every shape; whatever a handler takes, some of them do not fit."""


class AgentContract(ABC):
    """What every agent has to do, as tests.

    A subclass named `Test...` defines `make_agent`, `sample_payloads` where the agent runs tasks, and `slow_payloads`
    where a task can take long.
    """

    patience: ClassVar[float] = 10.0
    """Seconds that a task may take, or to end once it is cancelled."""
    head_start: ClassVar[float] = 0.3
    """Seconds that a slow task runs before it is cancelled."""

    @abstractmethod
    def make_agent(self) -> Agent:
        """Return a new agent, not started; `give_context` it where its default settings will not do."""

    def sample_payloads(self) -> dict[str, Any]:
        """Return a payload for each kind of task, with which the task succeeds quickly."""
        return {}

    def slow_payloads(self) -> dict[str, Any]:
        """Return a payload for each kind of task that can take long, with which it does."""
        return {}

    # What it says of itself

    def test_the_class_is_documented(self) -> None:
        """`aats plugins` and the reference show it."""
        cls = type(self.make_agent())
        assert cls.__dict__.get("__doc__"), f"{cls.__name__} needs a docstring of its own"

    def test_every_setting_is_described(self) -> None:
        """The reference of the team file is made from the descriptions."""
        settings = type(self.make_agent()).Settings
        assert issubclass(settings, AgentSettings)
        bare = [name for name, field in settings.model_fields.items() if not field.description]
        assert not bare, f"settings without a description: {', '.join(bare)}"

    def test_every_handler_is_documented(self) -> None:
        """Its first line is what people see of a kind of task."""
        bare = [handler.name for handler in self._handlers() if not handler.doc]
        assert not bare, f"handlers without a docstring: {', '.join(bare)}"

    def test_every_payload_has_a_schema(self) -> None:
        """A plan is checked against it."""
        for handler in self._handlers():
            assert msgspec.json.encode(handler.schema())

    def test_every_kind_of_task_has_a_sample_payload(self) -> None:
        """The tests below need one."""
        kinds = {handler.name for handler in self._handlers() if handler.kind == "task"}
        assert set(self.sample_payloads()) == kinds

    # What it is sent

    def test_a_payload_that_fits_is_taken_in_either_form(self) -> None:
        """As a Python value, and as the undecoded JSON of another process."""
        for kind, handler, payload in self._tasks(self.sample_payloads()):
            for message in _both_forms(kind, payload):
                assert _fits(handler, message), f"the sample payload of {kind} does not fit"

    def test_a_payload_that_does_not_fit_never_reaches_the_handler(self) -> None:
        """A handler annotated with `Any` refuses nothing and fails this test."""
        for handler in self._handlers():
            if handler.schema() == {"type": "null"}:
                continue
            messages = [message for misfit in MISFITS for message in _both_forms(handler.name, misfit)]
            taken = [message.payload for message in messages if _fits(handler, message)]
            assert len(taken) < len(messages), f"{handler.name} takes anything; annotate what it needs"

    # What it runs

    def test_a_task_gives_an_output_that_its_annotation_allows_and_json_carries(self) -> None:
        """The output is stored, and templates take it apart."""

        async def scenario(agent: Agent) -> None:
            for kind, handler, payload in self._tasks(self.sample_payloads()):
                async with asyncio.timeout(self.patience):
                    output = await handler.call(agent, Message(kind, payload), self.make_task_context(kind))
                assert msgspec.json.encode(handler.check_result(output))

        self._play(scenario)

    def test_a_cancelled_task_ends_promptly(self) -> None:
        """Cancelled twice, as where a worker drains while the task is cancelled already."""

        async def scenario(agent: Agent) -> None:
            for kind, handler, payload in self._tasks(self.slow_payloads()):
                running = asyncio.ensure_future(
                    handler.call(agent, Message(kind, payload), self.make_task_context(kind))
                )
                await asyncio.wait({running}, timeout=self.head_start)
                assert not running.done(), f"the slow payload of {kind} is not slow: {running.result()!r}"
                running.cancel()
                await asyncio.sleep(0)
                running.cancel()
                await asyncio.wait({running}, timeout=self.patience)
                assert running.done(), f"{kind} still runs {self.patience:g} s after it was cancelled"
                assert running.cancelled(), f"{kind} swallowed its cancellation"

        self._play(scenario)

    # How it starts and stops

    def test_starting_and_stopping_twice_is_harmless(self) -> None:
        """Also one after the other."""

        async def scenario(agent: Agent) -> None:
            await agent.start()
            await agent.stop()
            await agent.stop()
            await agent.start()

        self._play(scenario)

    def test_stopping_without_having_started_is_harmless(self) -> None:
        """As where another agent's start failed first."""

        async def life() -> None:
            agent, _ = self._agent()
            await agent.stop()

        with nothing_left(self.patience):
            asyncio.run(life())

    def make_task_context(self, kind: str) -> TaskContext:
        """Return the context of a new attempt of that kind."""
        return FakeTaskContext(f"contract/{kind}", kind=kind)

    def _play(self, scenario: Callable[[Agent], Awaitable[None]]) -> None:
        """Run a scenario on a started agent, stop it as the team does, and see that nothing is left."""

        async def life() -> None:
            before = asyncio.all_tasks()
            agent, context = self._agent()
            await agent.start()
            try:
                await scenario(agent)
            finally:
                try:
                    await agent.stop()
                finally:
                    await context.end()
            assert asyncio.all_tasks() == before, "tasks are left running after the agent has stopped"

        with nothing_left(self.patience):
            asyncio.run(life())

    def _agent(self) -> tuple[Agent, FakeAgentContext]:
        agent = self.make_agent()
        known = vars(agent).get("context")
        return agent, known if isinstance(known, FakeAgentContext) else give_context(agent)

    def _handlers(self) -> list[Handler[Any]]:
        return list(collect(type(self.make_agent()), TaskContext).values())

    def _tasks(self, payloads: dict[str, Any]) -> Iterator[tuple[str, Handler[Any], Any]]:
        handlers = {handler.name: handler for handler in self._handlers() if handler.kind == "task"}
        for kind, payload in payloads.items():
            if kind not in handlers:
                pytest.fail(f"there is a payload for {kind}, but the agent does not run it")
            yield kind, handlers[kind], payload


def _both_forms(kind: str, payload: object) -> tuple[Message, Message]:
    message = Message(kind, payload)
    return message, decode(encode(message))


def _fits(handler: Handler[Any], message: Message) -> bool:
    """Tell whether a payload is taken, without running the handler."""
    try:
        running = handler.call(None, message, FakeTaskContext())
    except InvalidPayload:
        return False
    close = getattr(running, "close", None)
    if close is not None:
        close()
    return True
