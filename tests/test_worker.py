"""Workers: every assignment is answered once, whatever becomes of its handler, its replica or its team."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aats_core.agent import Agent, TaskContext
from aats_core.attempt import OUTPUT_LIMIT
from aats_core.errors import InvalidPayload, TaskFailed
from aats_core.handlers import on, task
from aats_core.hooks import Hooks
from aats_core.message import Message
from aats_core.policy import acting_for, current_subject
from aats_core.runtime import Runtime
from aats_core.settings import AgentSettings, Restarts, TeamInfo
from aats_core.task import (
    PROJECT_MANAGER,
    TASK_SCHEDULER,
    Outcome,
    TaskAssignment,
    TaskCancel,
    TaskProgress,
    TaskResult,
    WorkerGone,
    WorkerStatus,
)


class Hands(Agent):
    """Works as it is told."""

    async def start(self) -> None:
        self.gate = asyncio.Event()
        self.working = 0
        self.most = 0

    @task("hands.echo")
    async def echo(self, payload: Any) -> Any:
        return payload

    @task("hands.wait")
    async def wait(self, payload: Any) -> str:
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            await self.gate.wait()
        finally:
            self.working -= 1
        return "waited"

    @task("hands.insist")
    async def insist(self, payload: float) -> str:
        """Swallow one cancellation and return all the same."""
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(payload)
        return "done all the same"

    @task("hands.raise")
    async def fail(self, payload: str) -> None:
        raise {
            "error": ValueError("no luck"),
            "exit": SystemExit(3),
            "interrupt": KeyboardInterrupt(),
            "cancelled": asyncio.CancelledError(),
            "for good": TaskFailed("never", retry=False, output={"why": 1}),
            "unreadable": Unreadable(),
            "surrogate": ValueError("\ud800"),
        }[payload]

    @task("hands.number")
    async def number(self, payload: Any) -> int:
        return "three"  # type: ignore[return-value]

    @task("hands.object")
    async def thing(self, payload: Any) -> Any:
        return object()

    @task("hands.large")
    async def large(self, payload: str) -> Any:
        text = "x" * (OUTPUT_LIMIT + 1)
        if payload == "failure":
            raise TaskFailed("it broke", output=text)
        return {"text": text, "list": [text], "fits": text[: OUTPUT_LIMIT // 2]}[payload]

    @task("hands.who")
    async def who(self, payload: Any, ctx: TaskContext) -> list[Any]:
        await ctx.report("on it")
        return [current_subject(), ctx.id, ctx.attempt, ctx.inputs]

    @task("hands.tell")
    async def tell(self, payload: Any) -> str:
        """Return the correlation id that a message of this task has."""
        return str(await self.request("hands", "origin"))

    @on("origin")
    async def origin(self, message: Message) -> str:
        return message.correlation_id

    @on("open")
    async def open(self) -> None:
        self.gate.set()

    @on("crash")
    async def crash(self) -> None:
        async def die() -> None:
            raise RuntimeError("crashed")

        self.spawn(die())


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


class Peer(Agent):
    """Hears what the worker tells project manager and scheduler."""

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    @on("task.result")
    async def result(self, result: TaskResult) -> None:
        self.heard.append(result)

    @on("task.progress")
    async def progress(self, progress: TaskProgress) -> None:
        self.heard.append(progress)

    @on("worker.status")
    async def status(self, status: WorkerStatus) -> None:
        self.heard.append(status)

    @on("worker.gone")
    async def gone(self, gone: WorkerGone) -> None:
        self.heard.append(gone)


class World:
    """A runtime with one worker, whose peers note what they hear."""

    def __init__(self, *, lease: float = 30.0, peer: AgentSettings | None = None, **settings: Any) -> None:
        self.info = TeamInfo(lease=lease)
        self.peer = peer
        self.settings = AgentSettings(restarts=Restarts(limit=5, backoff=0.001), **settings)
        self.heard: list[Any] = []

    def run(self, body: Callable[[World], Awaitable[None]]) -> None:
        async def main() -> None:
            self.runtime = Runtime(hooks=Hooks(), info=self.info)
            await self.runtime.start()
            for name in (PROJECT_MANAGER, TASK_SCHEDULER):
                await self.runtime.add(name, lambda: Peer(self.heard), self.peer).start()
            self.host = self.runtime.add("hands", Hands, self.settings)
            await self.host.start()
            assert self.host.worker is not None
            self.worker = self.host.worker
            async with asyncio.timeout(30):
                await body(self)
                for host in reversed(self.runtime.hosts.values()):
                    await host.stop()
            await self.runtime.stop()
            assert asyncio.all_tasks() == {asyncio.current_task()}, "something runs on after the stop"

        asyncio.run(main())

    @property
    def results(self) -> list[TaskResult]:
        return [heard for heard in self.heard if isinstance(heard, TaskResult)]

    @property
    def hands(self) -> Hands:
        agent = self.host.replicas[0].agent
        assert isinstance(agent, Hands)
        return agent

    async def assign(self, name: str, kind: str, payload: Any = None, attempt: int = 1, **more: Any) -> None:
        order = TaskAssignment("p", name, f"hands.{kind}", payload, attempt, 30.0, **more)
        await self.runtime.send("hands", "task.assignment", order, sender=PROJECT_MANAGER)

    def runs_still(self, id: str) -> int:
        return sum(one.get_name() == id for one in asyncio.all_tasks())

    async def cancel(self, name: str, attempt: int = 1) -> None:
        await self.runtime.send("hands", "task.stop", TaskCancel("p", name, attempt, "not wanted"))

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.001)

    async def result(self, name: str, kind: str, payload: Any = None, **more: Any) -> TaskResult:
        await self.assign(name, kind, payload, **more)
        await self.until(lambda: any(result.name == name for result in self.results))
        return next(result for result in self.results if result.name == name)


@pytest.mark.parametrize(
    ("kind", "payload", "outcome", "error"),
    [
        ("echo", {"a": 1}, Outcome.DONE, ""),
        ("raise", "error", Outcome.FAILED, "ValueError: no luck"),
        ("raise", "exit", Outcome.FAILED, "SystemExit: 3"),
        ("raise", "interrupt", Outcome.FAILED, "KeyboardInterrupt: "),
        ("raise", "cancelled", Outcome.FAILED, "CancelledError: what the handler waited for was cancelled"),
        ("raise", "for good", Outcome.REFUSED, "never"),
        ("raise", "unreadable", Outcome.FAILED, "Unreadable: an error that cannot say what it is about"),
        ("raise", "surrogate", Outcome.FAILED, "ValueError: \\ud800"),
        ("raise", 5, Outcome.REFUSED, "Expected `str`, got `int`"),
        ("number", None, Outcome.REFUSED, "returned something that its annotation does not allow"),
        ("object", None, Outcome.REFUSED, "the output cannot be stored"),
        ("nothing", None, Outcome.REFUSED, "hands does not run tasks of kind 'hands.nothing'"),
    ],
)
def test_whatever_a_handler_does_its_attempt_has_one_outcome(
    kind: str, payload: Any, outcome: Outcome, error: str
) -> None:
    async def body(world: World) -> None:
        result = await world.result("t", kind, payload)
        assert result.outcome is outcome
        assert error in result.error
        assert bool(result.error) == bool(error)
        assert world.worker.running == []
        assert (await world.result("next", "echo", 1)).outcome is Outcome.DONE
        assert len(world.results) == 2

    World().run(body)


@pytest.mark.parametrize("payload", ["text", "list", "failure"])
def test_an_output_that_is_too_large_is_refused_with_its_size_and_what_to_do(payload: str) -> None:
    async def body(world: World) -> None:
        result = await world.result("t", "large", payload)
        assert result.outcome is (Outcome.FAILED if payload == "failure" else Outcome.REFUSED)
        assert "16.0 MiB of JSON, at most 16 MiB can be stored: write it to a file" in result.error
        assert result.output is None

    World().run(body)


def test_an_output_within_the_limit_is_kept() -> None:
    async def body(world: World) -> None:
        result = await world.result("t", "large", "fits")
        assert (result.outcome, len(result.output)) == (Outcome.DONE, OUTPUT_LIMIT // 2)

    World().run(body)


def test_a_task_without_an_end_is_ended_at_its_timeout() -> None:
    async def body(world: World) -> None:
        result = await world.result("t", "wait", timeout=0.05)
        assert (result.outcome, result.error) == (Outcome.FAILED, "no end after its timeout of 0.05 s")
        assert world.hands.working == 0

    World().run(body)


def test_a_handler_sees_for_whom_it_works_and_what_it_was_given() -> None:
    async def body(world: World) -> None:
        with acting_for("ada"):
            await world.assign("t", "who", attempt=3, inputs={"x": 1})
        await world.until(lambda: world.results)
        assert world.results[0].output == ["ada", "p/t", 3, {"x": 1}]
        assert TaskProgress("p", "t", 3, "on it") in world.heard

    World().run(body)


def test_as_many_run_at_once_as_there_are_replicas_and_the_rest_waits_here() -> None:
    async def body(world: World) -> None:
        for number in range(5):
            await world.assign(f"t{number}", "wait")
        await asyncio.sleep(0.01)
        agents = [replica.agent for replica in world.host.replicas]
        assert [agent.working for agent in agents] == [1, 1]  # type: ignore[attr-defined]
        assert len(world.worker.running) == 5
        for agent in agents:
            agent.gate.set()  # type: ignore[attr-defined]
        await world.until(lambda: len(world.results) == 5)
        assert [agent.most for agent in agents] == [1, 1]  # type: ignore[attr-defined]

    World(replicas=2).run(body)


def test_the_same_attempt_again_is_passed_over_and_a_newer_one_takes_its_place() -> None:
    async def body(world: World) -> None:
        await world.assign("t", "wait", attempt=2)
        await asyncio.sleep(0.01)
        await world.assign("t", "wait", attempt=2)
        await world.assign("t", "wait", attempt=1)
        await asyncio.sleep(0.01)
        assert world.results == []
        await world.assign("t", "echo", 7, attempt=3)
        await world.until(lambda: len(world.results) == 2)
        old, new = sorted(world.results, key=lambda result: result.attempt)
        assert (old.attempt, old.outcome, old.error) == (2, Outcome.CANCELLED, "attempt 3 has begun")
        assert (new.attempt, new.outcome, new.output) == (3, Outcome.DONE, 7)

    World(replicas=2).run(body)


def test_a_cancellation_ends_what_runs_and_what_waits_but_no_other_attempt() -> None:
    async def body(world: World) -> None:
        await world.assign("runs", "wait", attempt=2)
        await world.assign("waits", "wait")
        await asyncio.sleep(0.01)
        await world.cancel("runs", attempt=1)
        await world.cancel("nothing")
        await world.cancel("waits")
        await world.until(lambda: world.results)
        assert [(result.name, result.outcome) for result in world.results] == [("waits", Outcome.CANCELLED)]
        await world.cancel("runs", attempt=2)
        await world.until(lambda: len(world.results) == 2)
        assert (world.results[1].outcome, world.results[1].error) == (Outcome.CANCELLED, "not wanted")

    World().run(body)


def test_a_task_that_ended_although_it_was_cancelled_is_done() -> None:
    async def body(world: World) -> None:
        await world.assign("t", "insist", 0.0)
        await asyncio.sleep(0.01)
        await world.cancel("t")
        await world.until(lambda: world.results)
        assert (world.results[0].outcome, world.results[0].output) == (Outcome.DONE, "done all the same")

    World().run(body)


def test_a_storm_of_cancellations_while_tasks_end_leaves_one_answer_each() -> None:
    seed = random.SystemRandom().randrange(10**9)
    randomness = random.Random(seed)

    async def body(world: World) -> None:
        names = [f"t{number}" for number in range(300)]
        for name in names:
            await world.assign(name, randomness.choice(["echo", "wait", "insist", "raise"]), 0.0)
        for _ in range(40):
            for name in randomness.sample(names, 60):
                await world.cancel(name)
            if randomness.random() < 0.2:
                await world.runtime.send("hands", "open")
            await asyncio.sleep(0)
        for replica in world.host.replicas:
            replica.agent.gate.set()  # type: ignore[attr-defined]
        await world.until(lambda: len(world.results) >= len(names))
        await asyncio.sleep(0.02)
        assert Counter(result.name for result in world.results) == Counter(names), f"seed {seed}"
        assert world.worker.running == []

    World(replicas=20).run(body)


def test_through_mailboxes_of_one_hundreds_of_tasks_all_get_their_answer() -> None:
    async def body(world: World) -> None:
        names = [f"t{number}" for number in range(500)]
        for name in names:
            await world.assign(name, "echo", name)
        await world.until(lambda: len(world.results) >= len(names))
        assert {result.name: result.output for result in world.results} == {name: name for name in names}

    World(replicas=3, mailbox=1, peer=AgentSettings(mailbox=1)).run(body)


def test_the_heartbeat_tells_what_runs() -> None:
    async def body(world: World) -> None:
        await world.assign("t", "wait", attempt=4)
        told = lambda: [heard for heard in world.heard if isinstance(heard, WorkerStatus) and heard.running]  # noqa: E731
        await world.until(lambda: len(told()) > 2)
        kinds = tuple(world.worker.tasks)
        assert told()[-1] == WorkerStatus("hands", kinds, 1, {}, (("p/t", 4),), draining=False)

    World(lease=0.03).run(body)


def test_a_drain_waits_for_what_runs_takes_nothing_and_keeps_its_heartbeat_going() -> None:
    async def body(world: World) -> None:
        await world.assign("runs", "wait")
        await asyncio.sleep(0.01)
        drain = asyncio.ensure_future(world.worker.drain(20))
        await asyncio.sleep(0.01)
        before = len(world.heard)
        await world.assign("late", "echo")
        await world.until(lambda: [result.name for result in world.results] == ["late"])
        assert (world.results[0].outcome, world.results[0].error) == (Outcome.RETURNED, "the worker drains")
        await world.until(lambda: len(world.heard) > before + 5)
        beats = [heard for heard in world.heard[before:] if isinstance(heard, WorkerStatus)]
        assert all(beat.draining for beat in beats)
        assert ("p/runs", 1) in beats[-1].running
        assert not drain.done()
        world.hands.gate.set()
        await drain
        assert [(result.name, result.outcome) for result in world.results[1:]] == [("runs", Outcome.DONE)]

    World(lease=0.03).run(body)


def test_what_does_not_end_within_the_grace_time_is_handed_back() -> None:
    async def body(world: World) -> None:
        await world.assign("t", "wait")
        await asyncio.sleep(0.01)
        await world.worker.drain(0.05)
        assert [(result.outcome, result.error) for result in world.results] == [(Outcome.RETURNED, "the worker drains")]

    World().run(body)


@pytest.mark.parametrize("moment", ["before", "while"])
def test_a_drain_that_is_hurried_waits_no_longer(moment: str) -> None:
    async def body(world: World) -> None:
        await world.assign("t", "wait")
        await asyncio.sleep(0.01)
        if moment == "before":
            world.worker.hurry()
        drain = asyncio.ensure_future(world.worker.drain(3600))
        await asyncio.sleep(0.01)
        if moment == "while":
            world.worker.hurry()
            world.worker.hurry()
        await drain
        assert [result.outcome for result in world.results] == [Outcome.RETURNED]
        world.worker.hurry()

    World().run(body)


def test_a_task_that_will_not_end_holds_up_a_hurried_drain_only_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aats_core.worker.STOP_WITHIN", 0.05)

    async def body(world: World) -> None:
        await world.assign("t", "insist", 0.3)
        await asyncio.sleep(0.01)
        drain = asyncio.ensure_future(world.worker.drain(3600))
        await asyncio.sleep(0)
        world.worker.hurry()
        await drain
        assert world.worker.running == []
        await world.until(lambda: world.results)
        assert [result.outcome for result in world.results] == [Outcome.RETURNED]
        assert "goes on" in world.results[0].error
        await world.until(lambda: not world.runs_still("p/t"))

    World().run(body)


def test_a_task_that_goes_on_after_its_timeout_fails_and_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aats_core.worker.STOP_WITHIN", 0.05)

    async def body(world: World) -> None:
        await world.assign("deaf", "insist", 0.5, timeout=0.01)
        await world.assign("next", "echo", 1)
        await world.until(lambda: len(world.results) == 2)
        results = {result.name: result for result in world.results}
        assert {name: result.outcome for name, result in results.items()} == {
            "deaf": Outcome.FAILED,
            "next": Outcome.DONE,
        }
        assert "no end after its timeout of 0.01 s" in results["deaf"].error
        assert "p/deaf, attempt 1" in caplog.text
        await world.until(lambda: not world.runs_still("p/deaf"))

    World(replicas=1).run(body)


def test_an_agent_whose_tasks_take_long_to_end_has_the_time_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aats_core.worker.STOP_WITHIN", 0.01)
    monkeypatch.setattr(AgentSettings, "ending", 3600.0)

    async def body(world: World) -> None:
        await world.assign("t", "insist", 0.2, timeout=0.01)
        await world.until(lambda: world.results)
        assert "goes on" not in world.results[0].error

    World().run(body)


def test_what_ends_after_it_was_given_up_is_not_answered_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aats_core.worker.STOP_WITHIN", 0.01)

    async def body(world: World) -> None:
        await world.assign("late", "insist", 0.2, timeout=0.01)
        await world.until(lambda: world.results)
        await world.assign("late", "wait", attempt=2)
        await world.until(lambda: world.runs_still("p/late") == 1)
        assert world.worker.running == ["p/late"]
        world.hands.gate.set()
        await world.until(lambda: len(world.results) == 2)
        assert [(result.attempt, result.outcome) for result in world.results] == [
            (1, Outcome.FAILED),
            (2, Outcome.DONE),
        ]

    World().run(body)


def test_what_a_task_sends_carries_the_tasks_id() -> None:
    async def body(world: World) -> None:
        await world.assign("t", "tell")
        await world.until(lambda: world.results)
        assert world.results[0].output == "p/t"

    World().run(body)


@pytest.mark.parametrize("output", [float("nan"), [{"a": float("inf")}]])
def test_an_output_that_json_has_no_words_for_is_refused(output: Any) -> None:
    async def body(world: World) -> None:
        await world.assign("t", "echo", output)
        await world.until(lambda: world.results)
        assert world.results[0].outcome is Outcome.REFUSED
        assert "not JSON compliant" in world.results[0].error

    World().run(body)


def test_a_worker_that_stops_hands_back_what_runs_and_takes_its_leave_last() -> None:
    async def body(world: World) -> None:
        for number in range(3):
            await world.assign(f"t{number}", "wait")
        await asyncio.sleep(0.01)
        await world.host.stop()
        await world.until(lambda: world.heard and isinstance(world.heard[-1], WorkerGone))
        assert [result.outcome for result in world.results] == [Outcome.RETURNED] * 3
        await world.assign("late", "echo")
        await world.until(lambda: len(world.results) == 4)
        assert world.results[3].outcome is Outcome.RETURNED

    World().run(body)


def test_a_crash_hands_back_what_runs_on_that_replica_only_and_the_rest_goes_on() -> None:
    async def body(world: World) -> None:
        await world.assign("a", "wait")
        await world.assign("b", "wait")
        await world.assign("c", "echo", 1)
        await asyncio.sleep(0.01)
        world.host.crashed(world.host.replicas[0], RuntimeError("it crashed"))
        await world.until(lambda: len(world.results) == 2)
        ends = {result.name: (result.outcome, result.error) for result in world.results}
        assert ends == {"a": (Outcome.RETURNED, "the agent crashed"), "c": (Outcome.DONE, "")}
        assert world.worker.running == ["p/b"]

    World(replicas=2).run(body)


def test_a_replica_that_crashed_with_a_task_that_will_not_end_keeps_no_other_waiting() -> None:
    async def body(world: World) -> None:
        await world.assign("deaf", "insist", 1.0)
        await asyncio.sleep(0.01)
        world.host.crashed(world.host.replicas[0], RuntimeError("it crashed"))
        assert (await world.result("next", "echo", 1)).outcome is Outcome.DONE
        assert world.worker.running == ["p/deaf"]
        await world.until(lambda: world.worker.running == [])

    World().run(body)


def test_an_assignment_that_cannot_be_read_is_an_error_for_its_sender() -> None:
    async def body(world: World) -> None:
        with pytest.raises(InvalidPayload):
            await world.runtime.send("hands", "task.assignment", {"plan": 1})
        assert (await world.result("next", "echo", 1)).outcome is Outcome.DONE

    World().run(body)


def test_a_project_manager_that_is_away_harms_no_worker() -> None:
    async def body(world: World) -> None:
        await world.runtime.hosts[PROJECT_MANAGER].stop()
        await world.assign("t", "echo", 1)
        await world.until(lambda: world.worker.running == [])
        await world.worker.drain(20)
        assert await world.runtime.request("hands", "open") is None

    World().run(body)


def test_messages_of_other_types_are_none_of_its_business() -> None:
    async def body(world: World) -> None:
        assert not world.worker.take(Message("open"))

    World().run(body)
