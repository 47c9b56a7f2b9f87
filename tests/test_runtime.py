"""Messages between agents of one process: sending, asking, answering, failing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from aats_broker_memory import MemoryBroker
from aats_broker_memory.settings import MemorySettings

from aats_core import hookspecs
from aats_core.agent import Agent
from aats_core.broker import DeadLetter
from aats_core.errors import InvalidPayload, NoHandler, RequestFailed, RequestTimeout, UnknownReceiver
from aats_core.handlers import on, subscribe
from aats_core.hooks import Hooks
from aats_core.message import Message
from aats_core.middleware import Middleware, Proceed
from aats_core.policy import acting_for, current_subject
from aats_core.replica import CURRENT
from aats_core.runtime import Runtime
from aats_core.settings import AgentSettings, HandlerRetries, Restarts


@dataclass
class Person:
    name: str
    age: int


class Greeter(Agent):
    """Greets whoever asks."""

    async def start(self) -> None:
        self.seen: list[Any] = []
        self.failures = 0
        self.gate = asyncio.Event()

    @on("greet")
    async def greet(self, name: str) -> str:
        return f"Hello, {name}"

    @on("meet")
    async def meet(self, person: Person) -> int:
        return person.age

    @on("note")
    async def note(self, value: int) -> None:
        self.seen.append(value)

    @on("wait")
    async def wait(self) -> None:
        await self.gate.wait()

    @on("fail")
    async def fail(self) -> None:
        self.failures += 1
        raise ValueError("no luck")

    @on("exit")
    async def leave(self) -> None:
        raise SystemExit(3)

    @on("lie")
    async def lie(self) -> int:
        return "not a number"  # type: ignore[return-value]

    @on("later")
    async def later(self) -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, future.set_result, "at last")
        return future

    @on("crash")
    async def crash(self) -> None:
        async def die() -> None:
            raise RuntimeError("the background died")

        self.spawn(die())

    @on("who")
    async def who(self) -> list[str]:
        message = CURRENT.get()
        return [current_subject(), message.correlation_id if message else ""]

    @on("forward")
    async def forward(self) -> list[str]:
        answer: list[str] = await self.request("other", "who")
        message = CURRENT.get()
        return [*answer, message.id if message else ""]

    @subscribe("system.events.*")
    async def heard(self, value: int) -> None:
        self.seen.append(("event", value))


class Observer:
    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.crashes: list[tuple[str, int]] = []

    @hookspecs.hookimpl
    def message_dead(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    @hookspecs.hookimpl
    def agent_crashed(self, agent: str, restarts: int) -> None:
        self.crashes.append((agent, restarts))


Body = Callable[["World"], Awaitable[None]]


class World:
    """A runtime with agents `greeter` and `other`, a memory broker and an observer."""

    def __init__(self, **settings: Any) -> None:
        self.settings = AgentSettings(
            retries=HandlerRetries(limit=2, backoff=0.001), restarts=Restarts(limit=2, backoff=0.001), **settings
        )
        self.observer = Observer()

    def run(self, body: Body, *middleware: Middleware) -> None:
        async def main() -> None:
            hooks = Hooks()
            hooks.register(self.observer, "observer")
            broker = MemoryBroker(MemorySettings())
            await broker.connect()
            self.runtime = Runtime(hooks=hooks, broker=broker, middleware=middleware)
            await self.runtime.start()
            for name in ("greeter", "other"):
                await self.runtime.add(name, Greeter, self.settings).start()
            async with asyncio.timeout(10):
                await body(self)
            for host in self.runtime.hosts.values():
                await host.stop()
            await self.runtime.stop()
            await broker.close()

        asyncio.run(main())

    @property
    def greeter(self) -> Greeter:
        agent = self.runtime.hosts["greeter"].replicas[0].agent
        assert isinstance(agent, Greeter)
        return agent

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.001)


def test_a_request_is_answered() -> None:
    async def body(world: World) -> None:
        assert await world.runtime.request("greeter", "greet", "Ada") == "Hello, Ada"

    World().run(body)


def test_a_payload_becomes_the_annotated_type() -> None:
    async def body(world: World) -> None:
        assert await world.runtime.request("greeter", "meet", {"name": "Ada", "age": 36}) == 36

    World().run(body)


def test_a_payload_that_does_not_fit_is_refused_with_the_reason() -> None:
    async def body(world: World) -> None:
        with pytest.raises(InvalidPayload, match="age"):
            await world.runtime.request("greeter", "meet", {"name": "Ada"})

    World().run(body)


def test_a_payload_that_does_not_fit_never_reaches_the_handler_and_is_a_dead_letter() -> None:
    world = World()

    async def body(world: World) -> None:
        await world.runtime.send("greeter", "note", "many")
        await world.until(lambda: bool(world.observer.letters))
        assert world.greeter.seen == []

    world.run(body)
    letter = world.observer.letters[0]
    assert letter.attempts == 1
    assert "InvalidPayload" in letter.reason


def test_an_unknown_type_is_refused_naming_what_is_handled() -> None:
    async def body(world: World) -> None:
        with pytest.raises(NoHandler, match="greet"):
            await world.runtime.request("greeter", "sing")

    World().run(body)


def test_an_unknown_receiver_is_an_error_that_names_the_known() -> None:
    async def body(world: World) -> None:
        with pytest.raises(UnknownReceiver, match="greeter, other"):
            await world.runtime.send("nobody", "greet", "x")

    World().run(body)


def test_a_request_without_an_answer_times_out() -> None:
    async def body(world: World) -> None:
        with pytest.raises(RequestTimeout, match=r"greeter did not answer wait within 0\.05 s"):
            await world.runtime.request("greeter", "wait", timeout=0.05)
        world.greeter.gate.set()

    World().run(body)


def test_a_handler_that_raises_fails_the_request() -> None:
    async def body(world: World) -> None:
        with pytest.raises(RequestFailed, match="ValueError: no luck"):
            await world.runtime.request("greeter", "fail")

    World().run(body)


def test_a_wrong_return_type_fails_the_request() -> None:
    async def body(world: World) -> None:
        with pytest.raises(InvalidPayload, match="returned something that its annotation does not allow"):
            await world.runtime.request("greeter", "lie")

    World().run(body)


def test_a_handler_may_answer_later_and_go_on_with_the_next_message() -> None:
    async def body(world: World) -> None:
        later = asyncio.ensure_future(world.runtime.request("greeter", "later"))
        assert await world.runtime.request("greeter", "greet", "Bob") == "Hello, Bob"
        assert not later.done()
        assert await later == "at last"

    World().run(body)


def test_a_message_whose_handler_raises_is_retried_and_then_a_dead_letter_with_the_traceback() -> None:
    world = World()

    async def body(world: World) -> None:
        await world.runtime.send("greeter", "fail")
        await world.until(lambda: bool(world.observer.letters))
        assert world.greeter.failures == 3
        assert world.runtime.broker is not None
        kept = await world.runtime.broker.dead_letters("aats.agent.tasks.greeter")
        assert [letter.attempts for letter in kept] == [3]

    world.run(body)
    assert "Traceback" in world.observer.letters[0].reason
    assert "no luck" in world.observer.letters[0].reason


def test_messages_arrive_in_the_order_they_were_sent() -> None:
    async def body(world: World) -> None:
        for number in range(100):
            await world.runtime.send("greeter", "note", number)
        await world.until(lambda: len(world.greeter.seen) == 100)
        assert world.greeter.seen == list(range(100))

    World().run(body)


def test_a_full_mailbox_holds_its_sender_back() -> None:
    async def body(world: World) -> None:
        await world.runtime.send("greeter", "wait")
        await asyncio.sleep(0.01)
        for number in range(3):
            await world.runtime.send("greeter", "note", number)
        held = asyncio.ensure_future(world.runtime.send("greeter", "note", 3))
        await asyncio.sleep(0.01)
        assert not held.done()
        world.greeter.gate.set()
        await held
        await world.until(lambda: world.greeter.seen == [0, 1, 2, 3])

    World(mailbox=3).run(body)


def test_an_overdue_handler_is_ended_and_the_agent_goes_on() -> None:
    world = World(handler_timeout=0.1)

    async def body(world: World) -> None:
        with pytest.raises(RequestFailed, match="no end after"):
            await world.runtime.request("greeter", "wait")
        assert await world.runtime.request("greeter", "greet", "Eve") == "Hello, Eve"

    world.run(body)


def test_what_is_published_reaches_those_who_subscribed() -> None:
    async def body(world: World) -> None:
        await world.until(lambda: True)
        await asyncio.sleep(0.02)
        await world.runtime.publish("system.events.deployed", "deployed", 7)
        await world.until(lambda: world.greeter.seen == [("event", 7)])

    World().run(body)


def test_the_subject_and_the_correlation_id_go_through_every_hop() -> None:
    async def body(world: World) -> None:
        with acting_for("ada"):
            subject, correlation, first = await world.runtime.request("greeter", "forward")
        assert subject == "ada"
        assert correlation == first

    World().run(body)


def test_a_crashed_agent_is_restarted_and_reported() -> None:
    world = World()

    async def body(world: World) -> None:
        before = world.greeter
        await world.runtime.send("greeter", "crash")
        await world.until(lambda: world.runtime.hosts["greeter"].restarts == 1)
        await world.until(lambda: world.runtime.hosts["greeter"].status == "running")
        assert world.greeter is not before
        assert await world.runtime.request("greeter", "greet", "Ada") == "Hello, Ada"

    world.run(body)
    assert world.observer.crashes == [("greeter", 1)]


def test_a_handler_that_exits_crashes_only_its_agent() -> None:
    world = World()

    async def body(world: World) -> None:
        with pytest.raises(RequestFailed, match="SystemExit"):
            await world.runtime.request("greeter", "exit")
        await world.until(lambda: bool(world.observer.crashes))
        assert await world.runtime.request("greeter", "greet", "Ada") == "Hello, Ada"
        assert await world.runtime.request("other", "greet", "Ada") == "Hello, Ada"

    world.run(body)


def test_an_agent_that_crashes_too_often_is_given_up() -> None:
    world = World()

    async def body(world: World) -> None:
        for count in (1, 2):
            await world.runtime.send("greeter", "crash")
            await world.until(lambda count=count: len(world.observer.crashes) == count)
            await world.until(lambda: world.runtime.hosts["greeter"].status == "running")
        await world.runtime.send("greeter", "crash")
        await world.until(lambda: world.runtime.hosts["greeter"].status == "failed")

    world.run(body)
    assert world.observer.crashes[-1] == ("greeter", 0)


def test_replicas_share_a_mailbox() -> None:
    async def body(world: World) -> None:
        blocked = asyncio.ensure_future(world.runtime.request("greeter", "wait"))
        await asyncio.sleep(0.01)
        assert await world.runtime.request("greeter", "greet", "Ada") == "Hello, Ada"
        blocked.cancel()

    World(replicas=2).run(body)


class Recorder(Middleware):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    async def handle(self, agent: str, message: Message, proceed: Proceed) -> Any:
        self.log.append(f"{self.name} before {message.type}")
        result = await proceed()
        self.log.append(f"{self.name} after {message.type}")
        return result


def test_middleware_is_wrapped_around_every_handler() -> None:
    log: list[str] = []

    async def body(world: World) -> None:
        assert await world.runtime.request("greeter", "greet", "Ada") == "Hello, Ada"

    World().run(body, Recorder("outer", log), Recorder("inner", log))
    assert log == ["outer before greet", "inner before greet", "inner after greet", "outer after greet"]


class Flusher(Agent):
    """Keeps what it is told to keep, in the background, and waits for that when it stops."""

    kept: ClassVar[list[str]] = []

    async def start(self) -> None:
        self.waiting: asyncio.Queue[str] = asyncio.Queue()
        self.spawn(self.keep())

    async def stop(self) -> None:
        async with asyncio.timeout(5):
            await self.waiting.join()

    @on("keep")
    async def take(self, text: str) -> None:
        self.waiting.put_nowait(text)

    async def keep(self) -> None:
        while True:
            text = await self.waiting.get()
            await asyncio.sleep(0)
            self.kept.append(text)
            self.waiting.task_done()


def test_an_agent_that_stops_can_rely_on_what_it_spawned() -> None:
    async def body() -> None:
        runtime = Runtime(hooks=Hooks())
        host = runtime.add("flusher", Flusher)
        await runtime.start()
        await host.start()
        await runtime.request("flusher", "keep", "the last word")
        await host.stop()
        await runtime.stop()
        assert Flusher.kept == ["the last word"]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(body())
