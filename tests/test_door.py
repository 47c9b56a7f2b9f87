import asyncio
import json
import os
import pwd
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aats_broker_memory import MemoryBroker, MemorySettings

from aats_core import errors
from aats_core.door import AT_ONCE, Door
from aats_core.door_client import connect
from aats_core.door_protocol import REQUEST_LIMIT, operations, socket_path
from aats_core.error_body import describe, revive
from aats_core.errors import (
    AatsError,
    AccessDenied,
    InvalidRequest,
    NotFound,
    Refused,
    StateError,
    StoreUnavailable,
    TeamUnavailable,
)
from aats_core.health import Health
from aats_core.hooks import Hooks
from aats_core.operations import AgentStatus, Operations, TaskEvent, TeamStatus
from aats_core.policy import AllowAll, Policy, current_subject
from aats_core.task import Plan, PlanRecord, PlanState, Task, TaskRecord, TaskState
from aats_core.topics import TeamTopics

PLAN = Plan("demo", (Task("one", "shell.run"),))
RECORD = PlanRecord("p1", "demo", counts={"ready": 1})


class FakeTeam:
    """Answers what agents would, and keeps what it was asked by whom."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.subjects: list[str] = []
        self.answers: dict[str, Any] = {"plan.submit": RECORD, "plan.list": [RECORD]}
        self.hold: asyncio.Event | None = None
        self.drained = False
        self.operations = Operations(
            self.ask,
            policy or AllowAll(),
            hooks=Hooks(),
            status=self.status,
            drain=self.drain,
            topics=TeamTopics(MemoryBroker(MemorySettings()), "t"),
            metrics=lambda: "aats_agent_up 1.0\n",
        )

    async def ask(self, receiver: str, type: str, payload: Any) -> Any:
        self.asked.append((receiver, type, payload))
        self.subjects.append(current_subject())
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers[type]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def status(self) -> TeamStatus:
        return TeamStatus("t", "1", 7, 0.0, self.drained, {"broker": Health()}, [AgentStatus("a", "a", "running", 1)])

    def drain(self) -> None:
        self.drained = True

    def emit(self, plan: str = "p1", state: PlanState = PlanState.ACTIVE, name: str = "one") -> None:
        self.operations.task_changed(TaskEvent(plan, name, "shell.run", TaskState.DONE, 1.0, plan_state=state))


@asynccontextmanager
async def door(state_dir: Path, team: FakeTeam | None = None) -> AsyncIterator[FakeTeam]:
    team = team or FakeTeam()
    async with Door(team.operations, state_dir):
        yield team


async def raw(state_dir: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(socket_path(state_dir))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


class TestCalls:
    def test_a_call_reaches_the_team_and_its_typed_answer_comes_back(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                assert await remote.submit(PLAN, key="k") == RECORD
                assert await remote.plans(PlanState.ACTIVE) == [RECORD]
                receiver, kind, submission = team.asked[0]
                assert (receiver, kind) == ("project-manager", "plan.submit")
                assert (submission.plan, submission.key) == (PLAN, "k")
                assert team.asked[1][2].state is PlanState.ACTIVE

        run(scenario)

    def test_every_operation_has_a_remote_twin_with_the_same_signature(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path), connect(tmp_path) as remote:
                for name, operation in operations().items():
                    own = type(remote).__dict__[name]
                    assert callable(own)
                    assert operation.signature.parameters.keys() >= {"self"}

        run(scenario)
        assert {"submit", "plans", "plan", "tasks", "task", "watch", "drain", "settle"} <= operations().keys()
        assert "task_changed" not in operations()

    def test_structures_and_nothing_come_back_as_what_they_were(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                assert await remote.status() == await team.status()
                assert await remote.drain() is None
                assert team.drained

        run(scenario)

    def test_an_argument_of_any_kind_arrives_whole(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                team.answers["task.settle"] = TaskRecord("p1/one", "p1", PLAN.tasks[0])
                await remote.settle("p1/one", done=True, output={"deep": [1, None, "ä"]}, reason="seen")
                assert team.asked[0][2].output == {"deep": [1, None, "ä"]}

        run(scenario)

    def test_the_subject_is_the_user_at_the_other_end(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                await remote.plans()
                assert team.subjects == [f"unix:{pwd.getpwuid(os.getuid()).pw_name}"]

        run(scenario)

    def test_the_policy_is_asked_with_that_subject(self, tmp_path: Path) -> None:
        class Nobody(Policy):
            def allow(self, subject: str, verb: str, resource: str) -> bool:
                return False

        async def scenario() -> None:
            async with door(tmp_path, FakeTeam(Nobody())) as team, connect(tmp_path) as remote:
                with pytest.raises(AccessDenied, match=r"unix:\w+ may not drain team"):
                    await remote.drain()
                with pytest.raises(AccessDenied):
                    await anext(aiter(remote.watch()))
                assert not team.asked

        run(scenario)

    def test_calls_of_one_connection_do_not_wait_for_each_other(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                team.hold = asyncio.Event()
                slow = asyncio.create_task(remote.plans())
                await until(lambda: team.asked)
                assert (await remote.status()).pid == 7
                team.hold.set()
                assert await slow == [RECORD]

        run(scenario)


class TestErrors:
    @pytest.mark.parametrize(
        "error",
        [NotFound("no task x"), InvalidRequest("not now"), StoreUnavailable("gone"), Refused(["a: b"], "plan.yaml")],
    )
    def test_an_error_of_the_team_is_raised_as_itself(self, tmp_path: Path, error: AatsError) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                team.answers["plan.submit"] = error
                with pytest.raises(type(error)) as caught:
                    await remote.submit(PLAN)
                assert str(caught.value) == str(error)
                assert getattr(caught.value, "problems", ()) == getattr(error, "problems", ())

        run(scenario)

    def test_an_unexpected_error_names_the_operation_and_the_log(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                for error in (ZeroDivisionError("oops"), TimeoutError(), OSError("disk")):
                    team.answers["plan.list"] = error
                    with pytest.raises(AatsError, match="plans failed within the team"):
                        await remote.plans()

        run(scenario)
        assert "ZeroDivisionError: oops" in caplog.text

    def test_an_answer_that_json_cannot_carry_is_an_error_and_not_a_hang(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                team.answers["plan.submit"] = PlanRecord("p", "n", inputs={"x": object()})
                with pytest.raises(AatsError, match="submit failed within the team"):
                    await remote.submit(PLAN)

        run(scenario)

    def test_errors_of_classes_unknown_to_clients_travel_as_their_nearest_known_class(self) -> None:
        class Special(NotFound):
            pass

        assert describe(Special("gone")).type == "NotFound"

    @pytest.mark.parametrize("name", ["Sequence", "cleandoc", "Nonsense", "__name__"])
    def test_a_name_that_is_no_error_is_revived_as_the_root(self, name: str) -> None:
        body = describe(AatsError("text"))
        body.type = name
        assert type(revive(body)) is AatsError

    def test_every_error_class_survives_the_way(self) -> None:
        classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, AatsError)]
        for cls in classes:
            error = cls(["one"]) if cls is Refused else cls("text")
            assert type(revive(describe(error))) is cls


class TestWatch:
    def test_events_come_as_they_happen_until_the_plan_has_ended(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                events = aiter(remote.watch("p1"))
                first = asyncio.ensure_future(anext(events))
                await remote.status()  # answered after the watch began
                team.emit("other")
                team.emit("p1", name="one")
                assert (await first).name == "one"
                team.emit("p1", PlanState.DONE, "two")
                assert [event.name async for event in events] == ["two"]

        run(scenario)

    def test_a_watch_that_is_left_is_ended_in_the_team_while_the_connection_goes_on(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path) as remote:
                events = remote.watch()
                first = asyncio.ensure_future(anext(events))
                await remote.status()
                team.emit()
                await first
                await events.aclose()  # type: ignore[attr-defined]
                await until(lambda: not team.operations._watchers)
                assert await remote.plans() == [RECORD]

        run(scenario)

    def test_a_watcher_that_does_not_read_loses_events_and_holds_nobody_back(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team:
                _, writer = await raw(tmp_path)
                writer.write(b'{"id": 1, "op": "watch", "args": {}}\n')
                await until(lambda: team.operations._watchers)
                for _ in range(30_000):
                    team.emit(name="x" * 200)
                async with connect(tmp_path) as remote:
                    assert await remote.plans() == [RECORD]
                assert max(queue.qsize() for queue in team.operations._watchers) <= 10_000
                writer.transport.abort()
                await until(lambda: not team.operations._watchers)

        run(scenario)


class TestSocket:
    def test_only_its_user_can_open_it_and_it_is_gone_afterwards(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            old = os.umask(0)
            try:
                async with door(tmp_path):
                    assert stat.S_IMODE(socket_path(tmp_path).stat().st_mode) == 0o600
            finally:
                os.umask(old)
            assert not socket_path(tmp_path).exists()

        run(scenario)

    def test_a_socket_left_behind_by_a_killed_team_is_replaced(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            dead = socket.socket(socket.AF_UNIX)
            dead.bind(str(socket_path(tmp_path)))
            dead.close()
            with pytest.raises(TeamUnavailable, match="aats run"):
                async with connect(tmp_path):
                    pass
            async with door(tmp_path), connect(tmp_path) as remote:
                assert (await remote.status()).name == "t"

        run(scenario)

    def test_something_else_in_its_place_is_left_alone(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            socket_path(tmp_path).write_text("precious")
            with pytest.raises(StateError, match="is not a socket"):
                async with door(tmp_path):
                    pass
            assert socket_path(tmp_path).read_text() == "precious"

        run(scenario)

    def test_a_directory_that_is_missing_or_closed_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            with pytest.raises(StateError, match=r"nowhere.aats\.sock"):
                async with door(tmp_path / "nowhere"):
                    pass
            with pytest.raises(TeamUnavailable, match=r"no team is running in .*nowhere"):
                async with connect(tmp_path / "nowhere"):
                    pass

        run(scenario)

    def test_a_path_longer_than_a_socket_address_works_all_the_same(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            deep = tmp_path / ("d" * 120) / ("ä" * 60)
            deep.mkdir(parents=True)
            before = open_files()
            async with door(deep), connect(deep) as remote:
                assert (await remote.status()).name == "t"
                assert stat.S_IMODE(socket_path(deep).stat().st_mode) == 0o600
            assert not socket_path(deep).exists()
            assert open_files() == before
            with pytest.raises(TeamUnavailable, match="no team is running"):
                async with connect(deep):
                    pass

        run(scenario)

    def test_leaving_ends_connections_that_still_wait(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            team = FakeTeam()
            team.hold = asyncio.Event()
            async with Door(team.operations, tmp_path) as _:
                remote = connect(tmp_path)
                client = await remote.__aenter__()
                call = asyncio.create_task(client.plans())
                await until(lambda: team.asked)
            with pytest.raises(TeamUnavailable, match="has stopped"):
                await call
            with pytest.raises(TeamUnavailable):
                await client.status()
            await remote.__aexit__(None, None, None)

        run(scenario)


class TestBadClients:
    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (b"hello\n", "one JSON object a line"),
            (b"[1,2]\n", "one JSON object a line"),
            (b'{"op": "status"}\n', "missing required field `id`"),
            (b'{"id": "x", "op": "status"}\n', "Expected `int"),
            (b"\xff\xfe\x00\n", "one JSON object a line"),
            (b"[" * 100_000 + b"\n", "one JSON object a line"),
            (b'{"id": 1, "op"', "one JSON object a line"),
        ],
    )
    def test_a_line_that_is_no_request_is_answered_and_ends_the_connection(
        self, tmp_path: Path, line: bytes, says: str
    ) -> None:
        async def scenario() -> None:
            async with door(tmp_path):
                reader, writer = await raw(tmp_path)
                writer.write(line)
                writer.write_eof()
                reply = json.loads(await reader.readline())
                assert reply["id"] is None
                assert says in reply["error"]["message"]
                assert await reader.read() == b""
                writer.close()
                async with connect(tmp_path) as remote:
                    assert await remote.plans() == [RECORD]

        run(scenario)

    @pytest.mark.parametrize(
        ("request_", "says"),
        [
            ({"op": "explode"}, "there is no operation 'explode', but agents, cancel"),
            ({"op": "_ask"}, "there is no operation '_ask'"),
            ({"op": "task_changed", "args": {"event": {}}}, "there is no operation 'task_changed'"),
            ({"op": "task"}, "task: Object missing required field `id`"),
            ({"op": "task", "args": {"id": 3}}, "task: Expected `str`, got `int` - at `$.id`"),
            ({"op": "plans", "args": {"state": "odd"}}, "plans: Invalid enum value 'odd' - at `$.state`"),
            ({"op": "plans", "args": {"colour": "red"}}, "plans: Object contains unknown field `colour`"),
            ({"op": "plans", "args": [1]}, "plans: Expected `object`, got `array`"),
        ],
    )
    def test_a_request_that_does_not_fit_is_answered_and_the_connection_goes_on(
        self, tmp_path: Path, request_: dict[str, Any], says: str
    ) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team:
                reader, writer = await raw(tmp_path)
                for line in ({"id": 1} | request_, {"id": 2, "op": "plans"}):
                    writer.write(json.dumps(line).encode() + b"\n")
                replies = [json.loads(await reader.readline()) for _ in range(2)]
                assert replies[0]["id"] == 1
                assert replies[0]["error"]["type"] == "InvalidRequest"
                assert says in replies[0]["error"]["message"]
                assert replies[1]["result"][0]["id"] == "p1"
                assert len(team.asked) == 1
                writer.close()

        run(scenario)

    def test_a_line_longer_than_the_limit_is_refused_without_being_kept(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path):
                reader, writer = await raw(tmp_path)
                with suppress(ConnectionError):
                    writer.write(b"x" * (2 * REQUEST_LIMIT + 1000))
                    await writer.drain()
                with suppress(ConnectionError):
                    reply = json.loads(await reader.readline())
                    assert f"at most {REQUEST_LIMIT} bytes" in reply["error"]["message"]
                writer.transport.abort()
                async with connect(tmp_path) as remote:
                    assert await remote.plans() == [RECORD]

        run(scenario)

    def test_a_client_refuses_to_send_what_the_team_would_not_read(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path), connect(tmp_path) as remote:
                big = Plan("big", (Task("one", "shell.run", payload="x" * REQUEST_LIMIT),))
                with pytest.raises(InvalidRequest, match="pass large data as a file"):
                    await remote.submit(big)
                assert await remote.plans() == [RECORD]

        run(scenario)

    def test_too_many_requests_at_once_are_refused_each_by_itself(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team:
                team.hold = asyncio.Event()
                reader, writer = await raw(tmp_path)
                for number in (*range(AT_ONCE), 0, AT_ONCE):
                    writer.write(b'{"id": %d, "op": "plans"}\n' % number)
                replies = [json.loads(await reader.readline()) for _ in range(2)]
                assert "request 0 is under way already" in replies[0]["error"]["message"]
                assert "requests can be under way" in replies[1]["error"]["message"]
                team.hold.set()
                answered = {json.loads(await reader.readline())["id"] for _ in range(AT_ONCE)}
                assert answered == set(range(AT_ONCE))
                writer.close()

        run(scenario)

    def test_a_client_that_only_writes_is_still_answered_as_socat_would_want_it(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team:
                team.hold = asyncio.Event()
                reader, writer = await raw(tmp_path)
                writer.write(b'{"id": 1, "op": "plans"}\n{"id": 2, "op": "watch"}\n')
                writer.write_eof()
                await until(lambda: team.asked)
                team.hold.set()
                assert json.loads(await reader.readline())["result"][0]["name"] == "demo"
                assert await reader.read() == b""
                assert not team.operations._watchers
                writer.close()

        run(scenario)

    def test_a_client_that_dies_while_it_waits_harms_nobody(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team:
                team.hold = asyncio.Event()
                _, writer = await raw(tmp_path)
                writer.write(b'{"id": 1, "op": "plans"}\n')
                await until(lambda: team.asked)
                writer.transport.abort()
                team.hold.set()
                async with connect(tmp_path) as remote:
                    assert await remote.plans() == [RECORD]

        run(scenario)
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    def test_a_team_that_does_not_answer_is_given_up_in_time(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with door(tmp_path) as team, connect(tmp_path, timeout=0.05) as remote:
                team.hold = asyncio.Event()
                with pytest.raises(TeamUnavailable, match=r"has not answered plans within 0\.05 seconds"):
                    await remote.plans()

        run(scenario)
