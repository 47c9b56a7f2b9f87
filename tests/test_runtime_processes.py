"""Agents of several processes talk through a broker: as two runtimes here, each a client of the same one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aats_broker_memory import MemoryBroker, MemorySettings

from aats_core.agent import Agent
from aats_core.errors import InvalidPayload, NotFound, Refused, RequestFailed, RequestTimeout
from aats_core.handlers import on, subscribe, task
from aats_core.hooks import Hooks
from aats_core.policy import acting_for, current_subject
from aats_core.runtime import Runtime
from aats_core.settings import AgentSettings, HandlerRetries, TeamInfo
from aats_core.task import Outcome, TaskAssignment, TaskResult


class SharedBroker(MemoryBroker):
    """A broker that reaches further than this process, as far as its users know."""

    in_process = False


class Manager(Agent):
    """Notes what workers say."""

    def __init__(self) -> None:
        self.results: list[TaskResult] = []

    @on("task.result")
    async def result(self, result: TaskResult) -> None:
        self.results.append(result)


class Clerk(Agent):
    """Answers, and notes what it was told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @task("clerk.file")
    async def file(self, payload: dict[str, str]) -> str:
        return payload["name"]

    @on("double")
    async def double(self, number: int) -> int:
        return 2 * number

    @on("ask")
    async def ask_on(self, number: int) -> int:
        return int(await self.request("far", "double", number))

    @on("who")
    async def who(self) -> str:
        return current_subject()

    @on("find")
    async def find(self, name: str) -> None:
        raise NotFound(f"there is no {name}")

    @on("refuse")
    async def refuse(self) -> None:
        raise Refused(["plan.yaml:3: a cycle"], source="plan.yaml")

    @on("break")
    async def break_down(self) -> None:
        raise ZeroDivisionError("by nothing")

    @on("sleep")
    async def sleep(self) -> None:
        await asyncio.sleep(60)

    @on("note")
    async def note(self, text: str) -> None:
        self.heard.append(text)
        if text == "heavy":
            raise ValueError("too heavy")

    @subscribe("system.events.*")
    async def event(self, text: str) -> None:
        self.heard.append(text)


@asynccontextmanager
async def processes() -> AsyncIterator[tuple[Runtime, Runtime, MemoryBroker]]:
    """Yield two runtimes, with the agents `near` and `far`, and `both` in each."""
    broker = SharedBroker(MemorySettings(lease=5))
    brokers = [broker, broker.sibling()]
    runtimes = [
        Runtime(hooks=Hooks(), broker=client, info=TeamInfo(node=node))
        for client, node in zip(brokers, ("n1", "n2"), strict=True)
    ]
    settings = AgentSettings(retries=HandlerRetries(limit=1, backoff=0.01))
    for client, runtime, name in zip(brokers, runtimes, ("near", "far"), strict=True):
        await client.connect()
        await runtime.start()
        await runtime.add(name, Clerk, settings).start()
        await runtime.add("both", Clerk, settings).start()
    await asyncio.sleep(0.01)
    yield runtimes[0], runtimes[1], broker
    for client, runtime in zip(brokers, runtimes, strict=True):
        for host in runtime.hosts.values():
            await host.stop()
        await runtime.stop()
        await client.close()


def play(scenario: Callable[[Runtime, Runtime, MemoryBroker], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with processes() as parts, asyncio.timeout(10):
            await scenario(*parts)

    asyncio.run(main())


def heard(runtime: Runtime, name: str) -> list[Any]:
    agent = runtime.hosts[name].replicas[0].agent
    assert isinstance(agent, Clerk)
    return agent.heard


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_request_is_answered_by_another_process() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        assert await near.request("far", "double", 4) == 8
        assert await far.request("near", "ask", 5) == 10
        assert await asyncio.gather(*(near.request("far", "double", n) for n in range(200))) == [
            2 * n for n in range(200)
        ]

    play(scenario)


def test_an_error_of_the_kernel_comes_back_as_it_was() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        with pytest.raises(NotFound, match="there is no plan"):
            await near.request("far", "find", "plan")
        with pytest.raises(InvalidPayload):
            await near.request("far", "double", "four")
        with pytest.raises(RequestFailed, match="ZeroDivisionError: by nothing"):
            await near.request("far", "break")
        with pytest.raises(Refused) as refused:
            await near.request("far", "refuse")
        assert refused.value.problems == ("plan.yaml:3: a cycle",)

    play(scenario)


def test_a_request_has_its_timeout() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        with pytest.raises(RequestTimeout, match=r"far did not answer sleep within 0\.05 s"):
            await near.request("far", "sleep", timeout=0.05)
        with pytest.raises(RequestTimeout):
            await near.request("nobody", "sleep", timeout=0.05)

    play(scenario)


def test_the_subject_travels_along() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        with acting_for("alice"):
            assert await near.request("far", "who") == "alice"

    play(scenario)


def test_an_address_means_one_process_and_a_name_any() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        await near.send("both@n2", "note", "over there")
        await near.send("both", "note", "here")
        await near.send("far", "note", "plain")
        await until(lambda: heard(far, "both") and heard(far, "far"))
        assert (heard(near, "both"), heard(far, "both"), heard(far, "far")) == (["here"], ["over there"], ["plain"])

    play(scenario)


def test_what_is_published_reaches_each_agent_once_wherever_it_is() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        await near.publish("system.events.dawn", "event", "dawn")
        await until(lambda: heard(near, "near") and heard(far, "far"))
        await asyncio.sleep(0.02)
        assert heard(near, "near") == heard(far, "far") == ["dawn"]
        assert len(heard(near, "both") + heard(far, "both")) == 1

    play(scenario)


def test_a_message_that_fails_comes_again_and_ends_as_a_dead_letter() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        await near.send("far", "note", "heavy")
        while not (letters := await broker.dead_letters("aats.agent.tasks.far")):
            await asyncio.sleep(0.005)
        assert heard(far, "far") == ["heavy", "heavy"]
        assert [letter.attempts for letter in letters] == [2]
        assert "too heavy" in letters[0].reason

    play(scenario)


def test_a_durable_message_waits_for_a_process_that_is_away() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        await far.hosts["far"].stop()
        await near.send("far", "note", "later", durable=True)
        await asyncio.sleep(0.02)
        again = far.hosts.pop("far")
        assert again.status == "stopped"
        await far.add("far", Clerk).start()
        await until(lambda: heard(far, "far"))
        assert heard(far, "far") == ["later"]

    play(scenario)


def test_what_is_sent_to_a_process_ends_with_it() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        await far.hosts["far"].stop()
        topics = {status.topic for status in await broker.topics()}
        assert "aats.agent.tasks.far" in topics
        assert "aats.agent.tasks.far.n2" not in topics

    play(scenario)


def test_a_task_is_run_by_a_worker_of_another_process() -> None:
    async def scenario(near: Runtime, far: Runtime, broker: MemoryBroker) -> None:
        manager = near.add("project-manager", Manager)
        await manager.start()
        await near.send("far@n2", "task.assignment", TaskAssignment("p", "t", "clerk.file", {"name": "x"}, 1, 30.0))
        agent = manager.replicas[0].agent
        assert isinstance(agent, Manager)
        await until(lambda: agent.results)
        (result,) = agent.results
        assert (result.name, result.outcome, result.output, result.worker) == ("t", Outcome.DONE, "x", "far@n2")

    play(scenario)
