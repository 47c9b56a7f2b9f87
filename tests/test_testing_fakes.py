"""The fakes keep the rules of what they stand for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aats_core.agent import Agent
from aats_core.clock import VirtualClock
from aats_core.errors import EffectUnknown, RequestFailed, RequestTimeout, TaskFailed
from aats_core.settings import AgentSettings
from aats_core.store import Put
from aats_core.testing.fakes import FakeAgentContext, FakeEffects, FakeTaskContext, Sent, give_context

Do = Callable[[], Awaitable[Any]]


def gives(outcome: Any) -> Do:
    async def do() -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return do


def once(effects: FakeEffects, do: Do, **options: Any) -> Any:
    return asyncio.run(effects.once("key", do, **options))


async def happened(key: str) -> str:
    return f"{key} had happened"


async def did_not_happen(key: str) -> None:
    return None


class TestEffects:
    def test_an_effect_is_done_once_and_its_outcome_comes_back(self) -> None:
        effects = FakeEffects()
        assert once(effects, gives({"n": 1})) == {"n": 1}
        assert once(effects, gives("again")) == {"n": 1}
        assert effects.done == {"key": 1}

    def test_the_outcome_comes_back_as_json_carried_it(self) -> None:
        effects = FakeEffects()
        once(effects, gives((1, 2)))
        assert once(effects, gives(None)) == [1, 2]

    def test_an_outcome_that_json_cannot_carry_is_an_error(self) -> None:
        with pytest.raises(TypeError):
            once(FakeEffects(), gives(object()))

    def test_a_failure_that_says_that_nothing_happened_is_done_again(self) -> None:
        effects = FakeEffects()
        with pytest.raises(TaskFailed):
            once(effects, gives(TaskFailed("nothing happened")))
        assert once(effects, gives("done")) == "done"
        assert effects.done == {"key": 2}

    @pytest.mark.parametrize("error", [ValueError("lost"), asyncio.CancelledError()])
    def test_any_other_error_leaves_it_open(self, error: BaseException) -> None:
        effects = FakeEffects()
        with pytest.raises(type(error)):
            once(effects, gives(error))
        assert effects.intents == {"key"}
        with pytest.raises(EffectUnknown, match="'key'"):
            once(effects, gives("again"))

    def test_where_it_is_open_a_check_tells(self) -> None:
        effects = FakeEffects()
        effects.intents.add("key")
        assert once(effects, gives("again"), check=happened) == "key had happened"
        assert effects.done == {}
        assert once(effects, gives("again")) == "key had happened"

    def test_where_the_check_says_no_it_is_done(self) -> None:
        effects = FakeEffects()
        effects.intents.add("key")
        assert once(effects, gives("done"), check=did_not_happen) == "done"

    def test_where_it_is_open_an_idempotent_effect_is_done_again(self) -> None:
        effects = FakeEffects()
        effects.intents.add("key")
        assert once(effects, gives("done"), idempotent=True) == "done"

    def test_writes_are_remembered(self) -> None:
        effects, write = FakeEffects(), Put("orders", {"_id": 1})
        effects.store(write)
        assert effects.writes == [write]


class TestTaskContext:
    def test_it_says_which_attempt_of_which_task_it_is(self) -> None:
        context = FakeTaskContext("p-1/build", kind="shell.run", attempt=2, inputs={"a": 1})
        assert (context.plan, context.name, context.kind, context.attempt) == ("p-1", "build", "shell.run", 2)
        assert context.inputs == {"a": 1}

    def test_reports_and_heartbeats_are_recorded(self) -> None:
        async def scenario() -> None:
            context = FakeTaskContext()
            await context.report("half")
            await context.heartbeat()
            assert (context.reports, context.heartbeats) == (["half"], 1)
            context.taken_away = True
            with pytest.raises(asyncio.CancelledError):
                await context.heartbeat()

        asyncio.run(scenario())


class Talker(Agent):
    """Says everything that an agent can say."""

    async def talk(self) -> Any:
        await self.send("a", "hello", 1, priority=2, durable=True)
        await self.publish("system.events.x", "event", {"n": 1})
        return await self.request("b", "question", timeout=5)


class TestAgentContext:
    def test_what_an_agent_says_is_recorded(self) -> None:
        talker = Talker()
        context = give_context(talker)
        context.answers["b", "question"] = 42
        assert asyncio.run(talker.talk()) == 42
        assert context.sent == [
            Sent("send", "a", "hello", 1, priority=2, durable=True),
            Sent("publish", "system.events.x", "event", {"n": 1}),
            Sent("request", "b", "question", None, timeout=5),
        ]

    def test_an_answer_may_be_an_error_and_a_missing_one_is(self) -> None:
        talker = Talker()
        context = give_context(talker)
        with pytest.raises(RequestFailed, match="no answer was set up for question to b"):
            asyncio.run(talker.talk())
        context.answers["b", "question"] = RequestTimeout()
        with pytest.raises(RequestTimeout):
            asyncio.run(talker.talk())

    def test_the_agent_sees_its_name_settings_and_state(self) -> None:
        async def scenario() -> None:
            talker, clock = Talker(), VirtualClock()
            talker.context = FakeAgentContext(AgentSettings(replicas=3), name="talker", clock=clock)
            assert (talker.name, talker.settings.replicas, talker.context.clock) == ("talker", 3, clock)
            assert await talker.load_state() == {}
            await talker.save_state({"n": (1, 2)})
            state = await talker.load_state()
            assert state == {"n": [1, 2]}
            state["n"] = 2
            assert await talker.load_state() == {"n": [1, 2]}

        asyncio.run(scenario())

    def test_what_was_spawned_is_ended_and_its_failure_raised(self) -> None:
        async def scenario() -> None:
            context = FakeAgentContext()
            endless = context.spawn(_wait())
            await context.end()
            assert endless.cancelled()
            context.spawn(_fail())
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="crashed"):
                await context.end()

        asyncio.run(scenario())


async def _wait() -> None:
    await asyncio.Event().wait()


async def _fail() -> None:
    raise ValueError("crashed")
