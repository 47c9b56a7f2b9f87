"""A request that a server may carry out twice is sent so that it is not, or stops where that is not sure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from aats_core.errors import EffectUnknown, TaskFailed
from aats_core.testing.fakes import FakeEffects, FakeTaskContext

Call = Callable[..., Any]


async def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _never(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


class TestKey:
    def test_it_belongs_to_the_task_and_not_to_the_attempt(self, play: Call, server: Any) -> None:
        server.answer("/", status=500)

        async def scenario(runner: Any) -> None:
            for task, attempt in (("plan/a", 1), ("plan/a", 2), ("plan/b", 1)):
                runner.context = FakeTaskContext(task, attempt=attempt)
                with pytest.raises(TaskFailed):
                    await runner.call(f"{server.url}/", method="POST")

        play(scenario)
        first, again, other = [asked["headers"]["Idempotency-Key"] for asked in server.asked]
        assert first == again != other

    @pytest.mark.parametrize(("method", "has"), [("POST", True), ("patch", True), ("PUT", False), ("GET", False)])
    def test_only_methods_that_are_not_idempotent_have_one(
        self,
        call: Call,
        server: Any,
        method: str,
        has: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        server.answer("/")
        call(f"{server.url}/", method=method)
        assert ("Idempotency-Key" in server.asked[0]["headers"]) is has

    def test_a_task_may_bring_its_own(self, call: Call, server: Any) -> None:
        server.answer("/")
        call(f"{server.url}/", method="POST", headers={"idempotency-key": "mine"})
        assert server.asked[0]["headers"].getall("Idempotency-Key") == ["mine"]


class TestEffect:
    def test_a_recorded_response_is_returned_and_nothing_sent_again(self, play: Call, server: Any) -> None:
        server.answer("/", '{"order": 7}', content_type="application/json")

        async def scenario(runner: Any) -> list[Any]:
            runner.context.effects = effects = FakeEffects()
            first = await runner.call(f"{server.url}/", method="POST")
            runner.context = FakeTaskContext("plan/task", attempt=2, effects=effects)
            return [first, await runner.call(f"{server.url}/", method="POST")]

        first, again = play(scenario)
        assert first == again
        assert len(server.asked) == 1

    def test_a_failed_request_is_sent_again_in_the_next_attempt(self, play: Call, server: Any) -> None:
        server.answer("/", status=502)

        async def scenario(runner: Any) -> None:
            for idempotent in (True, True):
                with pytest.raises(TaskFailed, match="status 502") as failed:
                    await runner.call(f"{server.url}/", method="POST", idempotent=idempotent)
                assert failed.value.retry
            server.answer("/")
            assert (await runner.call(f"{server.url}/", method="POST"))["status"] == 200

        play(scenario)

    def test_what_was_begun_before_a_crash_is_sent_again_with_the_same_key(self, play: Call, server: Any) -> None:
        server.answer("/")

        async def scenario(runner: Any) -> None:
            runner.context.effects.intents.add("request")
            assert (await runner.call(f"{server.url}/", method="POST"))["status"] == 200

        play(scenario)

    def test_a_request_without_effect_needs_no_record(self, play: Call, server: Any) -> None:
        server.answer("/")

        async def scenario(runner: Any) -> None:
            await runner.call(f"{server.url}/", method="PUT")
            assert runner.context.effects.done == {}

        play(scenario)


class TestNotIdempotent:
    def test_what_was_begun_before_a_crash_is_not_sent_again(self, play: Call, server: Any) -> None:
        server.answer("/")

        async def scenario(runner: Any) -> None:
            runner.context.effects.intents.add("request")
            with pytest.raises(EffectUnknown):
                await runner.call(f"{server.url}/", method="POST", idempotent=False)

        play(scenario)
        assert server.asked == []

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (_hang_up, "ServerDisconnectedError"),
            (_never, r"no answer within 0\.2 s"),
            (502, "status 502"),
            (500, "500"),
        ],
    )
    def test_a_request_whose_fate_is_open_stops_the_task_and_is_not_sent_again(
        self, play: Call, server: Any, answer: Any, reason: str
    ) -> None:
        if isinstance(answer, int):
            server.answer("/", status=answer)
        else:
            server.answers["/"] = answer

        async def scenario(runner: Any) -> None:
            for why in (f"POST .*{reason}.*look there and settle the task", "outcome is not known"):
                with pytest.raises(EffectUnknown, match=why):
                    await runner.call(f"{server.url}/", method="POST", idempotent=False, timeout=0.2)

        play(scenario)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("status", [400, 404, 429, 503])
    def test_a_request_that_the_server_refused_may_be_sent_again(self, play: Call, server: Any, status: int) -> None:
        server.answer("/", status=status)

        async def scenario(runner: Any) -> None:
            for _ in range(2):
                with pytest.raises(TaskFailed, match=f"status {status}"):
                    await runner.call(f"{server.url}/", method="POST", idempotent=False)

        play(scenario)
        assert len(server.asked) == 2

    def test_a_request_that_never_left_may_be_sent_again(self, call: Call, unused_port: int) -> None:
        with pytest.raises(TaskFailed, match="ClientConnectorError") as failed:
            call(f"http://127.0.0.1:{unused_port}/", method="POST", idempotent=False)
        assert failed.value.retry

    def test_a_redirect_is_not_followed(self, call: Call, server: Any) -> None:
        server.answer("/", status=303, headers={"Location": "/order/7"})
        output = call(f"{server.url}/", method="POST", idempotent=False, expect=[303])
        assert output["headers"]["location"] == "/order/7"
        with pytest.raises(TaskFailed, match="status 303") as failed:
            call(f"{server.url}/", method="POST", idempotent=False)
        assert not failed.value.retry


class TestLost:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_connection_that_is_lost_may_be_tried_again(self, call: Call, server: Any, method: str) -> None:
        server.answers["/"] = _hang_up
        with pytest.raises(TaskFailed, match=r"ServerDisconnectedError|ClientOSError") as failed:
            call(f"{server.url}/", method=method)
        assert failed.value.retry

    def test_a_server_that_is_away_may_be_tried_again(self, call: Call, unused_port: int) -> None:
        with pytest.raises(
            TaskFailed, match=rf"GET http://127\.0\.0\.1:{unused_port}/: ClientConnectorError"
        ) as failed:
            call(f"http://127.0.0.1:{unused_port}/")
        assert failed.value.retry

    def test_a_name_that_is_not_known_may_be_tried_again(self, call: Call) -> None:
        with pytest.raises(TaskFailed, match="ClientConnectorDNSError") as failed:
            call("http://no-such-host.invalid/")
        assert failed.value.retry

    def test_an_answer_that_does_not_come_in_time_may_be_tried_again(self, call: Call, server: Any) -> None:
        server.answers["/"] = _never
        with pytest.raises(TaskFailed, match=r"no answer within 0\.1 s") as failed:
            call(f"{server.url}/", timeout=0.1)
        assert failed.value.retry
        with pytest.raises(TaskFailed, match=r"no answer within 0\.2 s"):
            call(f"{server.url}/", settings={"timeout": 0.2})

    def test_a_body_that_does_not_come_to_its_end_in_time_fails_the_attempt(self, call: Call, server: Any) -> None:
        async def respond(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"begun")
            return await _never(request)

        server.answers["/"] = respond
        with pytest.raises(TaskFailed, match=r"no answer within 0\.2 s"):
            call(f"{server.url}/", timeout=0.2)

    def test_a_body_that_is_cut_off_fails_the_attempt(self, call: Call, server: Any) -> None:
        async def respond(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"begun")
            return await _hang_up(request)

        server.answers["/"] = respond
        with pytest.raises(TaskFailed, match=r"ClientPayloadError|ClientOSError|ServerDisconnected"):
            call(f"{server.url}/")

    def test_stopping_the_agent_ends_a_request(self, play: Call, server: Any) -> None:
        server.answers["/"] = _never

        async def scenario(runner: Any) -> None:
            task = asyncio.ensure_future(runner.call(f"{server.url}/"))
            while not server.asked:
                await asyncio.sleep(0.001)
            await runner.agent.stop()
            with pytest.raises(TaskFailed):
                await task

        play(scenario)
