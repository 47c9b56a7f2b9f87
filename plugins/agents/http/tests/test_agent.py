from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aats_agent_http import Http
from aiohttp import web

from aats_core.clock import VirtualClock
from aats_core.errors import InvalidPayload, SettingsError, TaskFailed
from aats_core.testing.fakes import give_context

Call = Callable[..., Any]


class TestRequest:
    def test_method_address_parameters_and_headers_reach_the_server(self, call: Call, server: Any) -> None:
        server.answer("/a b")
        call(
            f"{server.url}/a b?x=1",
            method="delete",
            params={"q": "grüße & more", "n": 2, "many": ["1", "2"]},
            headers={"X-Trace": "t1"},
        )
        (asked,) = server.asked
        assert (asked["method"], asked["path"]) == ("DELETE", "/a b")
        assert asked["query"] == [("x", "1"), ("q", "grüße & more"), ("n", "2"), ("many", "1"), ("many", "2")]
        assert asked["headers"]["X-Trace"] == "t1"

    @pytest.mark.parametrize(
        ("payload", "kind", "body"),
        [
            ({"json": {"a": [1, None]}}, "application/json", '{"a":[1,null]}'),
            ({"json": None}, "application/json", "null"),
            ({"data": "grüße"}, "text/plain; charset=utf-8", "grüße"),
            ({"data": {"a": "1", "b": "x y"}}, "application/x-www-form-urlencoded", "a=1&b=x+y"),
            ({"data": "<a/>", "headers": {"content-type": "text/xml"}}, "text/xml", "<a/>"),
            ({"json": 1, "headers": {"Content-Type": "application/vnd.api+json"}}, "application/vnd.api+json", "1"),
        ],
    )
    def test_a_body_is_json_text_or_a_form(self, call: Call, server: Any, payload: Any, kind: str, body: str) -> None:
        server.answer("/")
        call(f"{server.url}/", method="PUT", **payload)
        assert server.asked[0]["headers"]["Content-Type"] == kind
        assert server.asked[0]["body"] == body

    @pytest.mark.parametrize("base", ["/api", "/api/"])
    @pytest.mark.parametrize("url", ["v1/x", "/v1/x"])
    def test_a_relative_address_counts_from_the_base(self, call: Call, server: Any, base: str, url: str) -> None:
        server.answer("/api/v1/x", "here")
        assert call(url, settings={"base_url": server.url + base})["body"] == "here"

    def test_no_cookie_goes_from_one_task_to_the_next(self, play: Call, server: Any) -> None:
        server.answer("/", headers={"Set-Cookie": "session=1"})

        async def scenario(runner: Any) -> None:
            await runner.call(f"{server.url}/")
            await runner.call(f"{server.url}/")

        play(scenario)
        assert all("Cookie" not in asked["headers"] for asked in server.asked)

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            ({"method": "GET /"}, "method"),
            ({"timeout": 0}, "> 0"),
            ({"expect": [20]}, ">= 100"),
            ({"json": 1, "data": "1"}, "`json` or `data`, not both"),
            ({"headers": {"A": 1}}, "headers"),
            ({"body": "x"}, "body"),
        ],
    )
    def test_a_payload_that_does_not_fit_is_refused(self, call: Call, payload: Any, reason: str) -> None:
        with pytest.raises(InvalidPayload, match=reason):
            call("http://127.0.0.1/", **payload)

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            ({"url": "/relative"}, "its `url` is relative, and the agent has no `base_url`"),
            ({"url": "http://[broken/"}, "its `url` is not an address"),
            ({"url": "file:///etc/passwd"}, "only http and https"),
            ({"url": "ftp://127.0.0.1/"}, "only http and https"),
            ({"url": "http://127.0.0.1/", "params": {"a": float("inf")}}, "its `url` is not an address"),
        ],
    )
    def test_what_cannot_be_sent_is_not_tried_again(self, call: Call, payload: Any, reason: str) -> None:
        with pytest.raises(TaskFailed, match=reason) as failed:
            call(**payload)
        assert not failed.value.retry

    def test_a_header_cannot_smuggle_another_in(self, call: Call, server: Any) -> None:
        server.answer("/")
        with pytest.raises(TaskFailed, match=r"GET .*/: ValueError: .*header") as failed:
            call(f"{server.url}/", headers={"A": "b\r\nC: d"})
        assert not failed.value.retry
        assert server.asked == []


class TestResponse:
    def test_status_headers_and_body_come_back(self, call: Call, server: Any) -> None:
        server.answer("/", "text", headers=[("X-One", "1"), ("X-Two", "a"), ("X-Two", "b")])
        output = call(f"{server.url}/")
        assert (output["status"], output["body"]) == (200, "text")
        assert (output["headers"]["x-one"], output["headers"]["x-two"]) == ("1", "a, b")
        assert output["seconds"] > 0
        assert "json" not in output

    @pytest.mark.parametrize(
        ("text", "kind", "content"),
        [
            ('{"a": 1}', "application/json", {"json": {"a": 1}}),
            ("[1]", "application/problem+json", {"json": [1]}),
            ("null", "application/json", {"json": None}),
            ('{"a": 1}', "text/plain", {"body": '{"a": 1}'}),
            ("{not json", "application/json", {"body": "{not json"}),
            ("", "application/json", {"body": ""}),
        ],
    )
    def test_json_is_parsed_where_the_server_says_that_it_is(
        self, call: Call, server: Any, text: str, kind: str, content: dict[str, Any]
    ) -> None:
        server.answer("/", text, content_type=kind)
        output = call(f"{server.url}/")
        assert {name: output[name] for name in ("json", "body") if name in output} == content

    @pytest.mark.parametrize(
        ("body", "kind", "text"),
        [
            ("grüße".encode("latin-1"), "text/plain; charset=latin-1", "grüße"),
            (b"\xff\x00", "application/octet-stream", "\ufffd\x00"),
            (b"text", "text/plain; charset=no-such", "text"),
        ],
    )
    def test_text_is_decoded_by_its_charset(self, call: Call, server: Any, body: bytes, kind: str, text: str) -> None:
        async def respond(request: web.Request) -> web.Response:
            return web.Response(body=body, headers={"Content-Type": kind})

        server.answers["/"] = respond
        assert call(f"{server.url}/")["body"] == text

    def test_a_compressed_body_is_unpacked(self, call: Call, server: Any) -> None:
        server.answer("/", None, body=gzip.compress(b"x" * 1000), headers={"Content-Encoding": "gzip"})
        assert call(f"{server.url}/")["body"] == "x" * 1000

    @pytest.mark.parametrize("compressed", [False, True])
    def test_a_body_that_is_too_long_fails_the_task_for_good(
        self, call: Call, server: Any, *, compressed: bool
    ) -> None:
        body = b"x" * 5_000_000
        if compressed:
            server.answer("/", None, body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        else:
            server.answer("/", None, body=body)
        with pytest.raises(TaskFailed, match="more than the 4999999 bytes of `max_body`") as failed:
            call(f"{server.url}/", max_body=4_999_999)
        assert not failed.value.retry
        with pytest.raises(TaskFailed, match="more than the 1000 bytes"):
            call(f"{server.url}/", settings={"max_body": 1000})
        assert len(call(f"{server.url}/", max_body=5_000_000, settings={"max_body": 1000})["body"]) == 5_000_000

    def test_an_endless_body_fails_the_task(self, call: Call, server: Any) -> None:
        async def respond(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"x" * 65536)

        server.answers["/"] = respond
        with pytest.raises(TaskFailed, match="max_body"):
            call(f"{server.url}/")


class TestStatus:
    @pytest.mark.parametrize("status", [200, 201, 204, 299])
    def test_two_hundreds_are_well(self, call: Call, server: Any, status: int) -> None:
        server.answer("/", status=status)
        assert call(f"{server.url}/")["status"] == status

    @pytest.mark.parametrize(
        ("status", "retry"),
        [
            *[(400, False), (401, False), (404, False), (410, False), (304, False)],
            *[(408, True), (425, True), (429, True), (500, True), (502, True), (503, True), (599, True)],
        ],
    )
    def test_others_fail_and_only_some_are_tried_again(
        self,
        call: Call,
        server: Any,
        status: int,
        retry: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        server.answer("/path", "no\n luck", status=status)
        with pytest.raises(TaskFailed, match=rf"^GET {server.url}/path: status {status}") as failed:
            call(f"{server.url}/path?token=hunter2")
        assert failed.value.retry is retry
        assert failed.value.output["status"] == status
        if status != 304:
            assert str(failed.value).endswith(": no luck")
            assert failed.value.output["body"] == "no\n luck"

    def test_a_task_may_expect_other_statuses(self, call: Call, server: Any) -> None:
        server.answer("/gone", status=404)
        server.answer("/here")
        assert call(f"{server.url}/gone", expect=[404, 410])["status"] == 404
        with pytest.raises(TaskFailed, match="status 200 OK") as failed:
            call(f"{server.url}/here", expect=[404, 410])
        assert not failed.value.retry


class TestLater:
    def test_the_task_waits_as_long_as_the_server_asks_and_asks_again(self, play: Call, server: Any) -> None:
        statuses = iter([429, 503, 200])

        async def respond(request: web.Request) -> web.Response:
            return web.Response(status=next(statuses), headers={"Retry-After": "20"})

        server.answers["/"] = respond

        async def scenario(runner: Any) -> Any:
            clock = runner.context.clock = VirtualClock()
            task = asyncio.ensure_future(runner.call(f"{server.url}/"))
            for count in (1, 2):
                while len(runner.context.reports) < count:
                    await asyncio.sleep(0.001)
                await clock.advance(19)
                assert len(server.asked) == count
                await clock.advance(1)
            return (await task)["status"], runner.context.reports

        assert play(scenario) == (200, ["127.0.0.1 asks to wait 20 s"] * 2)

    def test_a_date_to_come_back_is_waited_for(self, play: Call, server: Any) -> None:
        clock = VirtualClock()
        date = format_datetime(datetime.fromtimestamp(clock.time() + 30, UTC), usegmt=True)
        server.answer("/", status=503, headers={"Retry-After": date})

        async def scenario(runner: Any) -> None:
            runner.context.clock = clock
            task = asyncio.ensure_future(runner.call(f"{server.url}/"))
            while not runner.context.reports:
                await asyncio.sleep(0.001)
            assert runner.context.reports == ["127.0.0.1 asks to wait 30 s"]
            server.answer("/")
            await clock.advance(30)
            assert (await task)["status"] == 200

        play(scenario)

    @pytest.mark.parametrize("later", ["61", "99999999999999999999", "soon", "", "-1"])
    def test_what_is_too_late_or_not_said_fails_the_attempt(self, call: Call, server: Any, later: str) -> None:
        server.answer("/", status=429, headers={"Retry-After": later})
        with pytest.raises(TaskFailed, match="status 429") as failed:
            call(f"{server.url}/", settings={"max_wait": 60})
        assert failed.value.retry
        assert len(server.asked) == 1

    def test_a_server_that_always_wants_to_be_asked_at_once_is_not_asked_for_ever(
        self, play: Call, server: Any
    ) -> None:
        server.answer("/", status=429, headers={"Retry-After": "0"})

        async def scenario(runner: Any) -> None:
            clock = runner.context.clock = VirtualClock()
            task = asyncio.ensure_future(runner.call(f"{server.url}/"))
            while not task.done():
                await asyncio.sleep(0.001)
                await clock.advance(1)
            with pytest.raises(TaskFailed, match="status 429"):
                await task

        play(scenario, max_wait=3)
        assert len(server.asked) == 4


class TestTls:
    def test_a_certificate_that_nobody_trusts_fails_the_task_for_good(self, call: Call, tls_server: Any) -> None:
        with pytest.raises(TaskFailed, match="the setting `ca` names whom to trust") as failed:
            call(f"{tls_server.url}/")
        assert not failed.value.retry

    def test_an_authority_can_be_trusted(self, call: Call, tls_server: Any, certificate: tuple[Path, Path]) -> None:
        tls_server.answer("/", "trusted")
        assert call(f"{tls_server.url}/", settings={"ca": certificate[0]})["body"] == "trusted"

    def test_certificates_can_be_left_unchecked(self, call: Call, tls_server: Any) -> None:
        tls_server.answer("/", "unchecked")
        assert call(f"{tls_server.url}/", settings={"verify": False})["body"] == "unchecked"

    @pytest.mark.parametrize("content", [None, "not a certificate"])
    def test_a_file_that_holds_no_authority_is_said_at_start(self, tmp_path: Path, content: str | None) -> None:
        file = tmp_path / "ca.pem"
        if content:
            file.write_text(content)
        agent = Http()
        give_context(agent, Http.Settings(ca=file))
        with pytest.raises(SettingsError, match=r"^ca: .*ca\.pem cannot be used"):
            asyncio.run(agent.start())
