"""Supervision: what crashes is replaced, nothing that was accepted is lost by it, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aats_core import hookspecs
from aats_core.agent import Agent, TaskContext
from aats_core.broker import DeadLetter, Delivery
from aats_core.clock import RealClock
from aats_core.errors import AgentFailed, BrokerUnavailable, RequestFailed
from aats_core.handlers import on, task
from aats_core.hooks import Hooks
from aats_core.message import Message
from aats_core.replica import Envelope
from aats_core.runtime import Runtime
from aats_core.settings import AgentSettings, HandlerRetries, Restarts
from aats_core.task import PROJECT_MANAGER, TASK_SCHEDULER, Outcome, TaskAssignment, TaskResult, WorkerStatus


class Ledger:
    """What happened to all instances of an agent, in order, and how they are to behave."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.made = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.on_start: Callable[[Fragile], None] = lambda agent: None
        self.results: list[TaskResult] = []

    def count(self, event: Any) -> int:
        return self.events.count(event)


class Fragile(Agent):
    """Crashes when it is told to."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        ledger.made += 1
        self.number = ledger.made

    async def start(self) -> None:
        self.ledger.on_start(self)
        await self.ledger.gate.wait()
        self.ledger.events.append(("start", self.number))

    async def stop(self) -> None:
        await asyncio.sleep(0)
        self.ledger.events.append(("stop", self.number))

    def crash(self, error: BaseException | None = None) -> None:
        async def die() -> None:
            raise error or RuntimeError("the background died")

        self.spawn(die())

    @on("crash")
    async def crash_now(self) -> None:
        self.crash()

    @on("note")
    async def note(self, value: int) -> None:
        self.ledger.events.append(("note", value, self.number))

    @on("crash.and.wait")
    async def crash_and_wait(self) -> None:
        self.ledger.events.append("waits")
        self.crash()
        if self.number == 1:
            await asyncio.Event().wait()

    @on("later")
    async def later(self) -> Any:
        return asyncio.get_running_loop().create_future()

    @on("exit.beside")
    async def exit_beside(self) -> None:
        self.crash(SystemExit(0))

    @on("deaf")
    async def deaf(self) -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                self.ledger.events.append("deaf")

    @task("fragile.work")
    async def work(self, payload: int, ctx: TaskContext) -> int:
        self.ledger.events.append(("work", ctx.attempt, self.number))
        return payload


class Peer(Agent):
    """Stands in for project manager and scheduler: hears what workers say."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    @on("task.result")
    async def result(self, result: TaskResult) -> None:
        self.ledger.results.append(result)

    @on("worker.status")
    async def status(self, status: WorkerStatus) -> None: ...

    @on("worker.gone")
    async def gone(self, message: Message) -> None: ...


class World:
    """A runtime with one fragile agent and its peers."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("restarts", Restarts(limit=3, backoff=0.001))
        self.settings = AgentSettings(retries=HandlerRetries(limit=2, backoff=0.001), **settings)
        self.letters: list[DeadLetter] = []
        self.make: Callable[[], Agent] = lambda: Fragile(self.ledger)
        self.clock = RealClock()

    @hookspecs.hookimpl
    def message_dead(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def run(self, body: Callable[[World], Awaitable[None]], *, start: bool = True) -> None:
        async def main() -> None:
            self.ledger = Ledger()
            hooks = Hooks()
            hooks.register(self, "world")
            self.runtime = Runtime(hooks=hooks, clock=self.clock)
            await self.runtime.start()
            for name in (PROJECT_MANAGER, TASK_SCHEDULER):
                await self.runtime.add(name, lambda: Peer(self.ledger)).start()
            self.host = self.runtime.add("fragile", lambda: self.make(), self.settings)
            if start:
                await self.host.start()
            async with asyncio.timeout(20):
                await body(self)
                for host in reversed(self.runtime.hosts.values()):
                    await host.stop()
            await self.runtime.stop()
            assert asyncio.all_tasks() == {asyncio.current_task()}, "something runs on after the stop"

        asyncio.run(main())

    @property
    def agent(self) -> Fragile:
        agent = self.host.replicas[0].agent
        assert isinstance(agent, Fragile)
        return agent

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.001)

    async def send(self, type: str, payload: Any = None) -> None:
        await self.runtime.send("fragile", type, payload)


def assignment(name: str, attempt: int = 1) -> TaskAssignment:
    return TaskAssignment("p", name, "fragile.work", 1, attempt, 30.0)


def test_what_came_during_the_restart_is_handled_after_it_in_order() -> None:
    async def body(world: World) -> None:
        world.agent.crash()
        await world.until(lambda: world.host.status == "restarting")
        for number in range(100):
            await world.send("note", number)
        await world.until(lambda: len(world.ledger.events) >= 103)
        notes = [event[1:] for event in world.ledger.events if event[0] == "note"]
        assert notes == [(number, 2) for number in range(100)]

    World().run(body)


def test_neither_message_nor_task_reaches_a_replacement_before_its_start_has_ended() -> None:
    async def body(world: World) -> None:
        world.ledger.gate.clear()
        world.agent.crash()
        await world.until(lambda: world.ledger.made == 2)
        await asyncio.sleep(0.01)
        await world.send("note", 1)
        await world.send("task.assignment", assignment("t"))
        await asyncio.sleep(0.02)
        world.ledger.gate.set()
        await world.until(lambda: world.ledger.results and ("note", 1, 2) in world.ledger.events)
        assert world.ledger.events[:3] == [("start", 1), ("stop", 1), ("start", 2)]
        assert world.ledger.results[0].outcome is Outcome.DONE

    World().run(body)


def test_a_replica_that_crashes_while_others_still_start_keeps_none_of_them_from_starting() -> None:
    async def body(world: World) -> None:
        world.ledger.on_start = lambda agent: agent.crash() if agent.number == 1 else None
        await world.host.start()
        await world.until(lambda: len(world.host.replicas) == 3)
        await world.until(lambda: ("start", 4) in world.ledger.events)
        assert {number for what, number in world.ledger.events if what == "start"} == {1, 2, 3, 4}
        assert all(replica.started for replica in world.host.replicas)

    World(replicas=3).run(body, start=False)


def test_a_replacement_that_crashes_in_its_start_is_replaced_too() -> None:
    async def body(world: World) -> None:
        def crash_second(agent: Fragile) -> None:
            if agent.number == 2:
                agent.crash()

        world.ledger.on_start = crash_second
        world.ledger.gate.clear()
        world.agent.crash()
        await world.until(lambda: world.ledger.made == 3)
        world.ledger.gate.set()
        await world.until(lambda: world.host.status == "running")
        await world.send("note", 1)
        await world.until(lambda: ("note", 1, 3) in world.ledger.events)
        assert world.host.restarts == 2
        assert len(world.host.replicas) == 1

    World().run(body)


def test_a_factory_that_fails_is_a_crash_and_the_old_instance_is_stopped_once() -> None:
    async def body(world: World) -> None:
        make, failures = world.make, iter([True, True, False])

        def fail_twice() -> Agent:
            if next(failures):
                raise RuntimeError("no memory")
            return make()

        world.make = fail_twice
        world.agent.crash()
        await world.until(lambda: world.host.restarts == 3 and world.host.status == "running")
        assert world.ledger.events == [("start", 1), ("stop", 1), ("start", 2)]

    World().run(body)


def test_a_stop_in_the_moment_of_the_crash_stops_what_crashed() -> None:
    async def body(world: World) -> None:
        error = RuntimeError("it crashed just now")
        world.host.replicas[0].spawn(asyncio.Event().wait())  # type: ignore[arg-type]
        world.host.crashed(world.host.replicas[0], error)
        await world.host.stop()
        assert world.ledger.events == [("start", 1), ("stop", 1)]

    World().run(body)


@pytest.mark.parametrize("turns", range(8))
def test_a_stop_at_any_moment_of_a_restart_leaves_nothing_and_stops_each_instance_once(turns: int) -> None:
    async def body(world: World) -> None:
        await world.send("note", 0)
        await asyncio.sleep(0)
        world.agent.crash()
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.host.stop()
        for number in range(1, world.ledger.made + 1):
            assert world.ledger.count(("stop", number)) == 1

    World(restarts=Restarts(limit=3, backoff=1e-9)).run(body)


def test_a_message_that_was_being_handled_when_its_agent_crashed_is_handled_again() -> None:
    async def body(world: World) -> None:
        await world.send("crash.and.wait")
        await world.until(lambda: world.ledger.count("waits") == 2)

    World().run(body)


def test_who_was_promised_an_answer_hears_of_the_crash() -> None:
    async def body(world: World) -> None:
        asked = asyncio.ensure_future(world.runtime.request("fragile", "later", timeout=3600))
        await asyncio.sleep(0.01)
        await world.send("crash")
        with pytest.raises(RequestFailed, match="fragile gave later up"):
            await asked

    World().run(body)


def test_an_exit_beside_the_handlers_crashes_only_that_agent() -> None:
    async def body(world: World) -> None:
        await world.send("exit.beside")
        await world.until(lambda: world.host.restarts == 1 and world.host.status == "running")
        await world.send("note", 1)
        await world.until(lambda: ("note", 1, 2) in world.ledger.events)

    World().run(body)


def test_an_exit_in_the_start_is_an_error_that_names_the_agent() -> None:
    async def body(world: World) -> None:
        def leave(agent: Fragile) -> None:
            raise SystemExit(0)

        world.ledger.on_start = leave
        with pytest.raises(AgentFailed, match=r"fragile tried to end the process in its start: SystemExit\(0\)"):
            await world.host.start()

    World().run(body, start=False)


def test_an_agent_that_is_given_up_answers_for_everything_it_had_accepted() -> None:
    world = World(restarts=Restarts(limit=0))

    async def body(world: World) -> None:
        asked = [asyncio.ensure_future(world.runtime.request("fragile", "deaf")) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(3):
            await world.send("note", number)
        await world.send("task.assignment", assignment("t"))
        world.agent.crash()
        for error in await asyncio.gather(*asked[1:], return_exceptions=True):
            assert isinstance(error, AgentFailed)
            assert "crashed too often and was given up" in str(error)
        await asyncio.wait(asked)
        await world.until(lambda: len(world.letters) == 3 and not world.host.replicas)
        with pytest.raises(AgentFailed, match="it takes no more messages"):
            await world.send("note", 9)
        await world.until(lambda: world.ledger.results)
        await world.until(lambda: ("stop", 1) in world.ledger.events)

    world.run(body)
    assert {letter.message.payload for letter in world.letters} == {0, 1, 2}


def test_giving_up_goes_to_its_end_where_no_dead_letter_can_be_kept() -> None:
    async def body(world: World) -> None:
        async def away(*args: Any, **more: Any) -> None:
            raise BrokerUnavailable("it is away")

        world.runtime.bury = away  # type: ignore[method-assign]
        for number in range(3):
            await world.send("note", number)
        world.host.replicas[0].agent.context.spawn(asyncio.Event().wait())  # type: ignore[arg-type]
        world.agent.crash()
        await world.until(lambda: ("stop", 1) in world.ledger.events)

    World(restarts=Restarts(limit=0)).run(body)


def test_crashes_count_against_the_limit_only_within_the_window() -> None:
    async def body(world: World) -> None:
        for number in range(1, 6):
            world.agent.crash()
            await world.until(lambda number=number: world.host.restarts == number)
            await world.until(lambda: world.host.status == "running")
            await asyncio.sleep(0.06)
        world.agent.crash()
        await world.until(lambda: world.host.restarts == 6 and world.host.status == "running")
        world.agent.crash()
        await world.until(lambda: world.host.status == "failed")

    World(restarts=Restarts(limit=1, window=0.05, backoff=0.001)).run(body)


class HastyClock(RealClock):
    """Notes how long it was asked to wait, and does not wait for restarts."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


def test_the_wait_before_a_restart_doubles_up_to_an_hour() -> None:
    async def body(world: World) -> None:
        world.host.worker = None
        waits.clear()
        for number in range(1, 1101):
            world.agent.crash()
            while world.host.restarts < number or world.host.status != "running":
                await asyncio.sleep(0)

    world = World(restarts=Restarts(limit=2000, window=3600, backoff=1.0))
    world.clock = clock = HastyClock()
    waits = clock.waits
    world.make = lambda: Quiet(world.ledger)
    world.run(body)
    restarts = [seconds for seconds in waits if seconds >= 1.0]
    assert restarts[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(restarts) == restarts[-1] == 3600.0


class Quiet(Fragile):
    """Starts and stops at once, and runs no tasks."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    work = None  # type: ignore[assignment]


class SlowDelivery(Delivery):
    """A delivery whose broker does not answer."""

    topic = "t"
    attempt = 1

    def __init__(self, message: Message) -> None:
        self.message = message
        self.gate = asyncio.Event()
        self.settled: list[str] = []

    async def ack(self) -> None:
        await self.gate.wait()
        self.settled.append("ack")

    async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
        self.settled.append("nack")

    async def reject(self, *, reason: str) -> None:
        self.settled.append("reject")

    async def extend(self) -> None: ...


def test_an_acknowledgement_that_takes_long_is_not_an_overdue_handler_and_the_agent_goes_on() -> None:
    async def body(world: World) -> None:
        delivery = SlowDelivery(Message("note", 1))
        await world.host.put(Envelope(delivery.message, None, delivery))
        await world.until(lambda: ("note", 1, 1) in world.ledger.events)
        assert world.host.replicas[0].busy_since is None
        await asyncio.sleep(1.2)  # the watchdog looks every second
        delivery.gate.set()
        await world.send("note", 2)
        await world.until(lambda: ("note", 2, 1) in world.ledger.events)
        assert delivery.settled == ["ack"]

    World(handler_timeout=0.05).run(body)


def test_a_handler_that_swallows_its_cancellation_holds_up_the_stop_no_longer_than_it_takes() -> None:
    async def body(world: World) -> None:
        await world.send("deaf")
        await world.send("note", 1)
        await asyncio.sleep(0.01)
        await world.host.stop()
        assert world.ledger.count("deaf") == 1
        assert not any(event[0] == "note" for event in world.ledger.events)

    World().run(body)


def test_what_is_sent_to_a_stopped_agent_wakes_nothing() -> None:
    async def body(world: World) -> None:
        await world.host.stop()
        with pytest.raises(AgentFailed, match="fragile has stopped; it takes no more messages"):
            await world.send("note", 1)

    World().run(body)


def test_a_tiny_mailbox_and_hundreds_of_crashes_and_senders_lose_no_message() -> None:
    async def body(world: World) -> None:
        sends = [asyncio.ensure_future(world.send("note", number)) for number in range(400)]
        for _ in range(20):
            if world.host.replicas and world.host.replicas[0].started:
                world.agent.crash()
            await asyncio.sleep(0.002)
        await asyncio.gather(*sends)
        await world.until(lambda: not world.host.mailbox and world.host.status == "running")
        await world.until(lambda: {e[1] for e in world.ledger.events if e[0] == "note"} == set(range(400)))

    World(mailbox=1, restarts=Restarts(limit=1000, window=0.005, backoff=1e-6)).run(body)
